"""What frozen backbones will read, told before they do: texts, tokens, bytes; and true afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmteach.corpus.texts import Texts
from lmteach.curriculum.costing import cost
from lmteach.curriculum.feature_planning import Extraction, cost_pass, plan_passes, probe_reading
from lmteach.curriculum.planning import lay_groundwork
from lmteach.curriculum.supervision import gold_texts
from lmteach.students.open_classifier import new_student
from lmteach.tracking.console import Console


@pytest.fixture
def frozen(start: Any, minilm1: Path, tmp_path: Path) -> Any:
    """Return a function that opens a recipe with two backbones on the same weights."""
    one = {"name": "one", "model": str(minilm1), "layers": [0, -1], "max_tokens": 7}
    backbones = [one, {**one, "name": "two", "layers": [-1], "pooling": "first"}]

    def open_(*overrides: str) -> Any:
        keys = ["student.tuning=frozen", f"student.backbones={json.dumps(backbones)}"]
        return start(*keys, f"run.features={tmp_path}/features", "supervision=gold", *overrides)[0]

    return open_


def planned(context: Any) -> Extraction:
    (found,) = cost(lay_groundwork(context.recipe, Console(quiet=True), n_sample=1000)).extraction
    return found


def read_all(context: Any) -> Any:
    """Read what a fit reads."""
    assert context.corpus.test is not None
    learned = gold_texts(context, context.first_positions())
    student = new_student(context.recipe, context.corpus.labels.names)
    return student, student.read(Texts([learned.texts, Texts.of(context.corpus.test)]), context.console)


def test_texts_tokens_and_bytes_come_true(frozen: Any, tmp_path: Path) -> None:
    context = frozen("curriculum.n_documents=20")
    before = planned(context)
    assert (before.backbones, before.texts, before.to_read) == ("one, two", 40, 40)
    assert not (tmp_path / "features").exists(), "a plan leaves nothing behind"
    student, _ = read_all(context)
    reader = student.backbones[0]
    texts = [*gold_texts(context, context.first_positions()).texts, *Texts.of(context.corpus.test)]
    ids = reader.tokenizer(texts, truncation=True, max_length=7)["input_ids"]
    assert before.tokens == pytest.approx(sum(map(len, ids)))
    files = [*(tmp_path / "features").rglob("vectors.bin"), *(tmp_path / "features").rglob("texts.bin")]
    assert before.bytes == sum(file.stat().st_size for file in files) > 0
    after = planned(context)
    assert (after.to_read, after.tokens, after.seconds, after.bytes) == (0, 0, 0, 0)
    more = frozen("curriculum.n_documents=30")
    new = set(more.first_positions().tolist()) - set(context.first_positions().tolist())
    assert 10 <= planned(more).to_read == len(new) < 30


def test_every_regime_s_texts_count(frozen: Any) -> None:
    def n_texts(context: Any) -> int:
        (pass_,) = lay_groundwork(context.recipe, Console(quiet=True)).passes
        return pass_.n_texts

    assert n_texts(frozen("supervision=teacher")) == 80
    assert n_texts(frozen("supervision=combined", "corpus.n_extra=7")) == 87


def test_a_probe_reads_and_keeps_nothing(frozen: Any, tmp_path: Path) -> None:
    context = frozen()
    work = lay_groundwork(context.recipe, Console(quiet=True))
    (pass_,) = work.passes
    probe = probe_reading(context.recipe, pass_, 5)
    assert probe is not None
    assert (probe.n_texts, probe.n_tokens) == (5, 35)
    assert not (tmp_path / "features").exists()
    (timed,) = cost(work, read=[probe]).extraction
    assert timed.seconds == pytest.approx(probe.seconds / 35 * timed.tokens)
    assert "a probe of 5 texts" in timed.seconds_how
    slow, fast = (cost_pass(context.recipe, pass_, None, flops).seconds for flops in (1e9, 2e9))
    assert slow == pytest.approx(2 * fast)


def test_a_model_that_is_not_here_leaves_questions_open(frozen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    context = frozen('student.backbones=[{model: "nobody/nothing-7b", max_tokens: 16}]')
    found = planned(context)
    assert (found.to_read, found.seconds, found.bytes) == (80, None, None)
    assert found.tokens is not None
    work = lay_groundwork(context.recipe, Console(quiet=True))
    assert probe_reading(context.recipe, work.passes[0], 5) is None


def test_a_tuned_student_reads_nothing_before(start: Any) -> None:
    context, _ = start("supervision=gold")
    work = lay_groundwork(context.recipe, Console(quiet=True))
    assert plan_passes(context.recipe, work.sizes, context.corpus, 5) == work.passes == []


def test_operations_of_an_encoder_are_twice_the_weights_of_its_layers(minilm1: Path) -> None:
    from transformers import AutoModel

    from lmteach.teaching.causal.cost import flops_per_token

    layers = AutoModel.from_pretrained(minilm1).encoder.layer
    assert flops_per_token(minilm1) == 2 * sum(p.numel() for p in layers.parameters() if p.dim() == 2)
