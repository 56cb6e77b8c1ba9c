"""One student's training: the same seed gives the same student, whoever was asked before; Ctrl-C gets through."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmteach.curriculum.datamodule import PseudoLabels
from lmteach.curriculum.training import train_student
from lmteach.errors import TeacherError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.tracking.console import Console


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(str(recipe_file), ["training.epochs=1", "training.batch_size=4"]).recipe


@pytest.fixture
def new_encoder(minilm1: Path) -> Callable[[], PooledEncoder]:
    lengths = {"document": 16, "search": 16, "label": 6}
    return lambda: PooledEncoder(str(minilm1), lengths=lengths)


def pseudo_labels() -> PseudoLabels:
    texts = [f"{word} number {i}" for i, word in enumerate(["bread", "moon", "law", "heap"] * 3)]
    return PseudoLabels(texts, [np.array([i % 4]) for i in range(12)], ["oven", "sky", "court", "queue"])


def weights_after(
    encoder: PooledEncoder, recipe: Recipe, label=pseudo_labels, seed: int = 5
) -> dict[str, Any]:
    told = train_student(encoder, label, recipe, Console(quiet=True), seed)
    assert told["steps"] == 3
    assert 0 <= told["loss"] < 1
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_seed_decides(recipe: Recipe, new_encoder) -> None:
    first = weights_after(new_encoder(), recipe)
    assert same(first, weights_after(new_encoder(), recipe))
    assert not same(first, weights_after(new_encoder(), recipe, seed=6))
    assert not same(first, new_encoder().state_dict())


def test_it_learns_by_the_recipes_loss(recipe: Recipe, new_encoder) -> None:
    by_default = weights_after(new_encoder(), recipe)
    plain = dataclasses.replace(recipe, loss={"name": "triplet"})
    assert not same(by_default, weights_after(new_encoder(), plain))
    silent = dataclasses.replace(recipe, loss={"name": "triplet", "margin": -2.0})
    assert same(new_encoder().state_dict(), weights_after(new_encoder(), silent)), "nothing violates it"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_can_be_clipped_in_either_precision(recipe: Recipe, new_encoder, precision) -> None:
    changed = dataclasses.replace(recipe.training, gradient_clip=1e-9, precision=precision, lr=1e-6)
    clipped = weights_after(new_encoder(), dataclasses.replace(recipe, training=changed))
    before = new_encoder().state_dict()
    assert max(float((clipped[name] - before[name]).abs().max()) for name in before) < 1e-4


def test_what_labelling_draws_does_not_change_what_training_draws(recipe: Recipe, new_encoder) -> None:
    """A resumed run finds its labels on disk: it must train as the run would have that made them."""

    def label() -> PseudoLabels:
        torch.rand(17)
        np.random.rand(3)
        return pseudo_labels()

    assert same(weights_after(new_encoder(), recipe, label), weights_after(new_encoder(), recipe))


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_DFL])
def test_ctrl_c_while_labels_are_made_gets_through(recipe: Recipe, new_encoder, before) -> None:
    """Lightning turns it into a silent exit with status 1, and has later ones ignored."""

    def label() -> PseudoLabels:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_student(new_encoder(), label, recipe, Console(quiet=True), 1)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, handler)


def test_ctrl_c_within_a_step_gets_through(recipe: Recipe, new_encoder, monkeypatch) -> None:
    from lmteach.students.biencoder import BiEncoderModule

    def step(self, batch, index):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(BiEncoderModule, "training_step", step)
    with pytest.raises(KeyboardInterrupt):
        train_student(new_encoder(), pseudo_labels, recipe, Console(quiet=True), 1)


def test_an_error_while_labels_are_made_gets_through_as_it_is(recipe: Recipe, new_encoder) -> None:
    def label() -> PseudoLabels:
        raise TeacherError("no answer", where="document d1")

    with pytest.raises(TeacherError, match="document d1: no answer"):
        train_student(new_encoder(), label, recipe, Console(quiet=True), 1)


def test_a_warm_up_longer_than_the_run_is_said(recipe: Recipe, new_encoder, capsys) -> None:
    long = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, warmup_steps=50))
    train_student(new_encoder(), pseudo_labels, long, Console(), 1)
    said = capsys.readouterr().err
    assert "only 3 steps, so the learning rate stays below 0.001; lower training.warmup_steps (50)" in said
    train_student(new_encoder(), pseudo_labels, recipe, Console(), 1)
    assert "warmup_steps" not in capsys.readouterr().err


def test_nothing_is_left_in_the_working_directory(recipe: Recipe, new_encoder, tmp_path, monkeypatch) -> None:
    """Lightning likes to leave logs and checkpoints."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    weights_after(new_encoder(), recipe)
    assert list(Path.cwd().iterdir()) == []


def test_gradients_of_several_batches_make_one_step(recipe: Recipe, new_encoder) -> None:
    """12 documents in batches of 4: three steps, or one of them all; and it is not the last batch's alone."""

    def after(accumulate: int) -> tuple[float, torch.Tensor]:
        changed = dataclasses.replace(recipe.training, accumulate=accumulate, warmup_steps=0)
        encoder = new_encoder()
        made = dataclasses.replace(recipe, training=changed)
        told = train_student(encoder, pseudo_labels, made, Console(quiet=True), 5)
        return told["steps"], encoder.state_dict()["model.encoder.layer.0.attention.self.query.weight"]

    (three, apart), (one, summed) = after(1), after(3)
    assert (three, one) == (3, 1)
    assert not torch.equal(apart, summed)


def test_gradient_caching_trains_the_same_student(recipe: Recipe, minilm1: Path) -> None:
    lengths = {"document": 16, "search": 16, "label": 6}
    found = []
    for cached in (None, 1, 3):
        encoder = PooledEncoder(str(minilm1), lengths=lengths, dropout=0.0)
        changed = dataclasses.replace(recipe.training, cached_batch=cached, lr=1e-4, eps=1e-3)
        found.append(weights_after(encoder, dataclasses.replace(recipe, training=changed)))
    for weights in found[1:]:
        for name, value in weights.items():
            torch.testing.assert_close(value, found[0][name], atol=1e-6, rtol=1e-4)
    assert not same(found[0], PooledEncoder(str(minilm1), lengths=lengths).state_dict())
