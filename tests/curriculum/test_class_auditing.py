"""An audit of classes: errors counted and estimated, slices, doubts, and the round trip through a human's hands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lmteach.curriculum.class_auditing import (
    ClassAudit,
    _Looked,
    _slices,
    audit_classes,
    audited_recipe,
    audited_run,
)
from lmteach.curriculum.supervision import label_documents
from lmteach.errors import RunError
from lmteach.recipe.load import to_yaml
from lmteach.tracking.class_audit_tables import print_class_audit
from lmteach.tracking.console import Console


@pytest.fixture
def audited(start: Any) -> Callable[..., ClassAudit]:
    def run(teacher: dict[str, Any], *keys: str, n_doubts: int = 50) -> ClassAudit:
        context, folder = start("supervision=teacher", *keys)
        context.recipe.teacher = teacher
        label_documents(context, folder)
        return audit_classes(audited_run(folder.path, context.recipe, Console(quiet=True)), n_doubts=n_doubts)

    return run


def oracle(**keys: Any) -> dict[str, Any]:
    return {"name": "oracle", "one_class": True, **keys}


def test_a_right_teacher_has_no_errors_and_no_doubts(audited: Any) -> None:
    found = audited(oracle())
    assert found.by_gold.rate == 0
    assert found.doubts == []
    assert found.estimated.rate < 0.1
    assert {s.by for s in found.slices} == {"length", "class"}


def test_errors_are_counted_where_they_are(audited: Any) -> None:
    found = audited(oracle(noise=0.3))
    wrong = [d.document_id for d in found.doubts]
    assert found.by_gold.rate == pytest.approx(len(wrong) / 60)
    assert 0.15 < found.by_gold.rate < 0.45
    by_class = [s for s in found.slices if s.by == "class"]
    assert sum(s.n_documents * (1 - s.accuracy) for s in by_class) == pytest.approx(len(wrong))
    for s in found.slices:
        assert s.low <= s.accuracy <= s.high
    lengths = [s for s in found.slices if s.by == "length"]
    assert sum(s.n_documents for s in lengths) == 60


def test_without_gold_the_doubts_are_what_documents_like_them_say(start: Any) -> None:
    """The extra documents have no gold; odd ids are positive."""
    context, folder = start("supervision=teacher_extra", "corpus.n_extra=null", "curriculum.n_documents=20")
    label_documents(context, folder)
    (folder.path / "labels" / "train.npz").unlink()
    found = audit_classes(audited_run(folder.path, context.recipe, Console(quiet=True)))
    assert found.by_gold is None
    assert all(s.accuracy is None for s in found.slices)
    assert found.n_documents == 30
    assert found.estimated is not None
    assert all(d.said != d.instead for d in found.doubts)
    json.dumps(found.to_dict())


def test_a_recipe_is_audited_before_any_run(start: Any) -> None:
    context, _ = start("supervision=teacher")
    found = audit_classes(audited_recipe(context, 25))
    assert found.n_documents == 25
    assert context.counters.made == 50


@pytest.mark.parametrize(("paraphrases", "agreement"), [("[]", None), ("[b, c]", 1.0)])
def test_agreement_is_told_of_several_prompts_alone(
    start: Any, capsys: Any, paraphrases: str, agreement: float | None
) -> None:
    context, _ = start("supervision=teacher", f"classes.paraphrases={paraphrases}")
    found = audit_classes(audited_recipe(context, 25))
    assert found.agreement == agreement
    assert {part.agreement for part in found.slices if part.n_documents} == {agreement}
    print_class_audit(Console(quiet=True), found)
    assert ("prompts agree 100.0%" in capsys.readouterr().out) == (agreement is not None)


@pytest.mark.parametrize(("sources", "n"), [("aabb", 0), ("abab", 2), ("abcd", 4), ("aaab", 2), ("aaaa", 0)])
def test_sources_that_are_the_classes_are_no_slices_of_their_own(sources: str, n: int) -> None:
    looked = _Looked(
        documents=SimpleNamespace(ids=[f"{source}/{i}" for i, source in enumerate(sources)]),  # type: ignore[arg-type]
        texts=["x"] * 4,
        said_n=np.zeros(4, np.int64),
        gold_n=np.array([0, 0, 1, 1]),
        ordered_nC=np.zeros((4, 2)),
        agreement_n=None,
        names=("negative", "positive"),
    )
    assert sum(part.by == "source" for part in _slices(looked)) == n


def test_a_run_without_labels_is_an_error(start: Any) -> None:
    context, folder = start("supervision=gold")
    with pytest.raises(RunError, match="No teacher"):
        audited_run(folder.path, context.recipe, Console(quiet=True))


def test_a_humans_answers_mend_the_labels(start: Any, call: Any, tmp_path: Path) -> None:
    """audit --review, corrected by hand, taught by replay: right where the oracle was wrong."""
    context, folder = start("supervision=teacher")
    context.recipe.teacher = oracle(noise=0.3)
    label_documents(context, folder)
    folder.recipe.write_text(to_yaml(context.recipe))
    review = tmp_path / "review.json"
    status, out, err = call("audit", folder.path, "--review", review, "--disputed", 60, "--quiet")
    assert status == 0, err
    assert "errors against gold" in out
    tasks = json.loads(review.read_text())
    assert tasks
    for task in tasks:
        right = "positive" if int(task["id"].removeprefix("train")) % 2 else "negative"
        assert task["suggestions"]["label"]["value"] != right
        task["responses"] = {"label": [{"value": right}]}
    review.write_text(json.dumps(tasks))
    again, other = start("supervision=teacher")
    again.recipe.teacher = {"name": "replay", "path": str(review)}
    (folder.path / "labels" / "train.npz").unlink()
    (found,) = label_documents(again, other)
    assert sorted(found.ids) == sorted(task["id"] for task in tasks)
    np.testing.assert_array_equal(
        found.targets_nC.argmax(1), [int(id_.removeprefix("train")) % 2 for id_ in found.ids]
    )


def test_what_is_of_shortlists_is_refused(start: Any, call: Any) -> None:
    context, folder = start("supervision=teacher")
    label_documents(context, folder)
    folder.recipe.write_text(to_yaml(context.recipe))
    status, _, err = call("audit", folder.path, "--deep", 5)
    assert status == 1
    assert "--deep" in err
