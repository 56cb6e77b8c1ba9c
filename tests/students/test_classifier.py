"""ClassifierModule: its loss, its validation, and what its optimiser touches, by hand."""

from __future__ import annotations

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from lmteach import registry
from lmteach.students.classifier import ClassBatch, ClassifierModule, ClassifierOptimizer


def module(multilabel: bool = False, **optimizer: object) -> ClassifierModule:
    loss = registry.build("loss", {"name": "ce"}, multilabel)
    body = torch.nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        body.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))
    made = ClassifierModule(body, loss, ClassifierOptimizer(**optimizer))  # type: ignore[arg-type]
    made.trainer = trainer()
    return made


def batch(multilabel: bool = False) -> ClassBatch:
    inputs = torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    targets = torch.eye(3) if not multilabel else torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 1]])
    return ClassBatch(inputs, targets, torch.tensor([1.0, 2.0, 0.5]))


def trainer(n_epochs: int = 1) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=n_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def loader(*batches: ClassBatch) -> DataLoader[ClassBatch]:
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_loss_is_the_weighted_sum_over_the_texts_divided_by_their_number(multilabel: bool) -> None:
    made, given = module(multilabel), batch(multilabel)
    logits = given.inputs @ torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]).T
    if multilabel:
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, given.targets, reduction="none")
        expected = (each.mean(1) * given.weights).sum() / 3
    else:
        each = torch.nn.functional.cross_entropy(logits, given.targets, reduction="none")
        expected = (each * given.weights).sum() / 3
    made.validation_step(given, 0)
    made.on_validation_epoch_end()
    assert made.validation["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_validation_counts_every_text_by_its_weight_over_all_batches() -> None:
    made = module()
    first, whole = batch(), batch()
    second = ClassBatch(first.inputs[2:], first.targets[2:], first.weights[2:])
    first = ClassBatch(first.inputs[:2], first.targets[:2], first.weights[:2])
    for given in (first, second):
        made.validation_step(given, 0)
    made.on_validation_epoch_end()
    in_parts = made.validation
    assert in_parts["accuracy"] == pytest.approx(3 / 3.5)  # the third, of weight one half, is wrong
    made.on_validation_epoch_start()
    made.validation_step(whole, 0)
    made.on_validation_epoch_end()
    assert made.validation == pytest.approx(in_parts)


def test_training_moves_what_may_be_trained_and_nothing_else() -> None:
    made = module(lr=0.1, schedule="constant")
    made.body = torch.nn.Sequential(made.body, torch.nn.Linear(3, 3))
    made.body[0].requires_grad_(False)  # type: ignore[index]
    before = {name: p.clone() for name, p in made.body.named_parameters()}
    trainer(5).fit(made, loader(batch()))
    moved = {name for name, p in made.body.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"1.weight", "1.bias"}
    assert len(made.losses) == 5
    assert made.losses[-1] < made.losses[0]
