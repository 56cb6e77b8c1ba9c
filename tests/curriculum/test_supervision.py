"""Whose labels a classifier learns: four regimes, a teacher asked for classes, and what is made of its errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.curriculum.class_teacher import asked_classes
from lmteach.curriculum.labelled import LabelledTexts
from lmteach.curriculum.supervision import label_documents
from lmteach.curriculum.teacher_labels import teacher_summary
from lmteach.errors import CorpusError, RecipeError, RunError
from lmteach.tracking.run_folder import RunFolder


def truth(labelled: LabelledTexts) -> np.ndarray:
    """Documents of odd number are positive."""
    return np.array([int(id_.lstrip("trainexs")) % 2 for id_ in labelled.ids])


def test_gold_is_the_selected_documents_gold(start: Any) -> None:
    (found,) = label_documents(*start("supervision=gold", "curriculum.n_documents=20"))
    assert len(found) == 20
    np.testing.assert_array_equal(found.targets_nC.argmax(1), truth(found))
    np.testing.assert_array_equal(found.weights_n, 1)


def test_the_regimes_are_made_of_the_parts_they_say(start: Any) -> None:
    few = "curriculum.n_documents=20"
    (teacher,) = label_documents(*start("supervision=teacher", few))
    assert {id_.rstrip("0123456789") for id_ in teacher.ids} == {"train"}
    (both,) = label_documents(*start("supervision=teacher_extra", "corpus.n_extra=null", few))
    assert len(both) == 50
    assert list(both.ids[:20]) == list(teacher.ids)
    first, second = label_documents(*start("supervision=combined", "corpus.n_extra=null", few))
    assert {id_.rstrip("0123456789") for id_ in first.ids} == {"extra"}
    assert list(second.ids) == list(teacher.ids)
    (one,) = label_documents(*start("supervision=combined", "combine=concat", "corpus.n_extra=null", few))
    assert list(one.ids) == [*first.ids, *second.ids]
    np.testing.assert_array_equal(one.targets_nC, np.concatenate([first.targets_nC, second.targets_nC]))


def test_extra_documents_must_be_asked_for(start: Any) -> None:
    with pytest.raises(RecipeError, match=r"corpus\.n_extra"):
        label_documents(*start("supervision=combined"))


def test_all_classes_are_asked_by_the_names_the_recipe_gives(start: Any, tmp_path: Path) -> None:
    context, folder = start(
        "supervision=teacher", f"teacher.log={tmp_path}/log", "classes.names={negative: bad, positive: great}"
    )
    label_documents(context, folder)
    assert set((tmp_path / "log").read_text().split()) == {"bad|great"}
    with pytest.raises(RecipeError, match="positive"):
        label_documents(
            start("supervision=teacher", "classes.names={postive: great}")[0], folder_of(tmp_path)
        )
    with pytest.raises(RecipeError, match="Two classes"):
        label_documents(
            start("supervision=teacher", "classes.names={positive: negative}")[0], folder_of(tmp_path)
        )


def test_a_class_is_shown_with_its_description_and_a_changed_one_is_a_new_question(
    start: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    keys = ["supervision=teacher", f"teacher.log={log}", "curriculum.n_documents=6"]

    def asked(said: str) -> list[str]:
        log.unlink(missing_ok=True)
        context, folder = start(*keys, f"classes.descriptions={said}")
        label_documents(context, RunFolder(folder.path / said))
        return log.read_text().splitlines() if log.is_file() else []

    assert set(asked("{}")) == {"negative|positive"}
    assert asked("{positive: '  a kind\n review'}") == ["negative|positive (a kind review)"] * 6
    assert asked("{positive: a kind review}") == [], "the store knows"
    assert asked("{positive: praise}") == ["negative|positive (praise)"] * 6
    with pytest.raises(RecipeError, match=r"(?s)classes\.descriptions.*negtive.*negative"):
        asked("{negtive: blame}")


@pytest.mark.parametrize(
    ("prompt", "paraphrases", "refused"),
    [
        ("sentiment", [], "sentiment"),
        ("choice", ["sentiment"], "sentiment"),
        ("likelihood", [], "likelihood"),
        ("choice", ["about"], ""),
    ],
)
def test_a_prompt_without_a_place_for_descriptions_is_refused(
    start: Any, prompt: str, paraphrases: list[str], refused: str
) -> None:
    said = ["classes.descriptions={positive: praise}", f"classes.paraphrases={paraphrases}"]
    context, _ = start("supervision=teacher", *said)
    context.recipe.teacher = {
        "name": "openai",
        "model": "m",
        "base_url": "http://127.0.0.1:9/v1",
        "prompt": prompt,
    }
    if not refused:
        assert asked_classes(context).descriptions == ("", "praise")
        return
    with pytest.raises(RecipeError, match=f"'{refused}' has no place"):
        asked_classes(context)


def folder_of(tmp_path: Path) -> RunFolder:
    path = tmp_path / "other"
    path.mkdir(exist_ok=True)
    return RunFolder(path)


@pytest.mark.parametrize("prior", ["contextual", "batch"])
def test_a_leaning_teacher_is_useless_until_its_leaning_is_taken_off(
    prior: str, start: Any, tmp_path: Path
) -> None:
    lean = ("supervision=teacher", "teacher.lean=5")
    (leaning,) = label_documents(*start(*lean))
    assert (leaning.targets_nC.argmax(1) == 1).all()
    (upright,) = label_documents(
        start(*lean, f"classes.prior={prior}", "classes.content_free=[N/A]")[0], folder_of(tmp_path)
    )
    assert (upright.targets_nC.argmax(1) == truth(upright)).mean() == 1


def test_a_second_run_asks_nobody(start: Any, tmp_path: Path) -> None:
    label_documents(*start("supervision=teacher"))
    context, _ = start("supervision=teacher")
    label_documents(context, folder_of(tmp_path))
    assert context.counters.made == 0
    assert context.counters.from_store > 0


def test_a_resumed_run_reads_its_own_file(start: Any, tmp_path: Path) -> None:
    first = label_documents(*start("supervision=teacher"))[0]
    context, folder = start("supervision=teacher", f"run.store={tmp_path}/empty.sqlite")
    again = label_documents(context, folder)[0]
    assert context.counters.made == 0
    np.testing.assert_array_equal(again.targets_nC, first.targets_nC)
    assert len([event for event in folder.events() if event["event"] == "labels"]) == 1


def test_what_cannot_be_read_or_paid_for_is_left_out_and_counted(
    start: Any, films: Path, tmp_path: Path
) -> None:
    other = tmp_path / "with_unread"
    shutil.copytree(films, other)
    rows = (other / "train.jsonl").read_text().splitlines()
    rows[0] = json.dumps({"id": "odd", "text": "unreadable", "labels": [0]})
    (other / "train.jsonl").write_text("\n".join(rows) + "\n")
    context, folder = start("supervision=teacher", f"corpus.path={other}", "budget.judgements=50")
    (found,) = label_documents(context, folder)
    summary = teacher_summary(folder)["train"]
    assert "odd" not in found.ids
    assert len(found) == 60 - summary["unread"] - summary["unjudged"]
    assert summary["unjudged"] >= 34
    assert summary["stopped_by"] == "budget.judgements = 50"


def test_nothing_read_is_an_error(start: Any, tmp_path: Path) -> None:
    (tmp_path / "silent.csv").write_text("document_id,candidate,answer\n")
    context, folder = start("supervision=teacher")
    context.recipe.teacher = {"name": "replay", "path": str(tmp_path / "silent.csv")}
    with pytest.raises(RunError, match="labelled none of 60"):
        label_documents(context, folder)


def test_paraphrases_are_asked_too_and_their_agreement_is_told(start: Any) -> None:
    context, folder = start("supervision=teacher", "classes.paraphrases=[b, c]")
    label_documents(context, folder)
    assert context.counters.made == 60 * 2 * 3
    assert teacher_summary(folder)["train"]["agreement"] == 1


def test_a_single_prompt_agrees_with_none(start: Any) -> None:
    context, folder = start("supervision=teacher")
    label_documents(context, folder)
    assert teacher_summary(folder)["train"]["agreement"] is None


def test_soft_labels_are_the_teachers_probabilities(start: Any) -> None:
    (soft,) = label_documents(*start("supervision=teacher", "noise.labels=soft"))
    np.testing.assert_allclose(soft.targets_nC.sum(1), 1, rtol=1e-6)
    assert 0.5 < soft.targets_nC.max(1).mean() < 0.9
    np.testing.assert_array_equal(soft.targets_nC.argmax(1), truth(soft))


def test_weights_follow_the_teachers_margin(start: Any) -> None:
    (found,) = label_documents(*start("supervision=teacher", "noise.weights=confidence", "teacher.lean=0.5"))
    assert found.weights_n.mean() == pytest.approx(1, abs=1e-5)
    up = found.targets_nC.argmax(1) == 1
    assert found.weights_n[up].min() > found.weights_n[~up].max()  # it leans to good, so is surer of it


def test_confident_learning_drops_flipped_labels(start: Any) -> None:
    context, folder = start("supervision=teacher", "noise.drop=confident_learning")
    context.recipe.teacher = {"name": "oracle", "one_class": True, "noise": 0.15}
    (found,) = label_documents(context, folder)
    summary = teacher_summary(folder)["train"]
    assert 0 < summary["dropped"] < 30
    assert len(found) == 60 - summary["dropped"]
    kept_right = (found.targets_nC.argmax(1) == truth(found)).mean()
    assert kept_right > summary["accuracy"]
    assert summary["dropped_of_wrong"] > summary["dropped"] / 60


def test_several_classes_may_apply(start: Any, desks: Path) -> None:
    """Notes that belong on two of twelve desks each; each class is a question of its own."""
    context, folder = start("supervision=teacher", "student.multilabel=true", f"corpus.path={desks}")
    context.recipe.teacher = {"name": "oracle"}
    (found,) = label_documents(context, folder)
    (gold,) = label_documents(
        start("supervision=gold", "student.multilabel=true", f"corpus.path={desks}")[0], folder
    )
    assert (gold.targets_nC.sum(1) == 2).all()
    np.testing.assert_array_equal(found.targets_nC, gold.targets_nC)
    assert teacher_summary(folder)["train"]["accuracy"] == 1
    context.recipe.annotation.threshold = 6.0  # above the oracle's sure yes
    (none,) = label_documents(context, folder)
    assert none.targets_nC.sum() == 0


def test_several_gold_classes_where_one_is_expected_are_an_error(start: Any, desks: Path) -> None:
    with pytest.raises(CorpusError, match=r"student\.multilabel"):
        label_documents(*start("supervision=gold", f"corpus.path={desks}"))
