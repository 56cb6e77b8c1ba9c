"""`fit --from RUN`: only documents that a new label touches are judged, and the student learns the label."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import load_student
from lmteach.curriculum.refresh import refresh, without_labels
from lmteach.errors import RunError
from lmteach.search.shortlist import Shortlist
from lmteach.serving.labels import add_labels, remove_labels
from lmteach.students.label_set import load_labels
from lmteach.tracking.console import Console

HELD_OUT = ("desk anna", "desk boris")
QUIET = Console(quiet=True)


def _without(desks: Path, folder: Path) -> Path:
    """Write the desks corpus as it was before two desks were founded."""
    folder.mkdir()
    names = (desks / "labels.txt").read_text().splitlines()
    kept = [name for name in names if name not in HELD_OUT]
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in kept))
    for split in ("train", "test"):
        lines = []
        for line in (desks / f"{split}.jsonl").read_text().splitlines():
            row = json.loads(line)
            row["labels"] = [kept.index(names[i]) for i in row["labels"] if names[i] in kept]
            lines.append(json.dumps(row))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def taught(
    desk_recipe: Mapping[str, Any], desks: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run taught before two of the labels were there, with which they were then added."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe

    folder = tmp_path_factory.mktemp("before")
    recipe = {
        **desk_recipe,
        "corpus": {"path": str(_without(desks, folder / "corpus")), "n_dev": 20},
        "search": {**desk_recipe["search"], "n_retrieved": 10, "n_kept": 10, "n_judged": 4},
        "dev": {"n_judged": 2},
        "run": {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        fit(load_recipe(str(folder / "recipe.yaml")).recipe, QUIET)
    (folder / "new.txt").write_text("".join(f"{name}\n" for name in HELD_OUT))
    add_labels(folder / "run", folder / "new.txt")
    return folder / "run"


@pytest.fixture(scope="module")
def refreshed(
    taught: Path, desks: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run that `fit --from` made of it. Look, do not touch."""
    folder = tmp_path_factory.mktemp("after") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        refresh(taught, [f"corpus.path={desks}", f"run.folder={folder}", "training.epochs=6"], QUIET)
    return folder


def test_the_student_learns_the_new_labels(refreshed: Path, taught: Path, desks: Path) -> None:
    names = (desks / "labels.txt").read_text().splitlines()
    rows = [json.loads(line) for line in (desks / "test.jsonl").read_text().splitlines()]
    held_out = {names.index(name) for name in HELD_OUT}
    rows = [row for row in rows if held_out & set(row["labels"])]

    def found(path: Path) -> float:
        """Return R@3 on the new labels."""
        tags = load_student(path).predict([row["text"] for row in rows], 3)
        right = [{names[i] for i in row["labels"]} & set(HELD_OUT) for row in rows]
        return sum(len(r & set(t.labels)) for t, r in zip(tags, right, strict=True)) / sum(map(len, right))

    assert found(refreshed) > found(taught) + 0.1
    assert load_labels(refreshed / "student")[0] == load_labels(taught / "student")[0]
    final = json.loads((refreshed / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(final["by_name"]) == {"untuned", "before", "cycle 0"}
    assert "refreshed_from" in json.loads((refreshed / "manifest.json").read_text())


def test_only_documents_with_a_new_label_in_their_shortlist_were_judged(refreshed: Path, desks: Path) -> None:
    names = (desks / "labels.txt").read_text().splitlines()
    new = {names.index(name) for name in HELD_OUT}
    shortlist = Shortlist.load(refreshed / "cycles" / "00" / "shortlist.npz")
    assert 0 < len(shortlist) < 100
    for row in shortlist.label_ids_qk[:, :4].tolist():
        assert new & set(row)
    cycle = next(e for e in _events(refreshed) if e["event"] == "cycle")
    assert cycle["documents"] == len(shortlist)


def _events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_refresh_is_not_done_again_and_a_cut_one_goes_on(
    refreshed: Path, taught: Path, desks: Path, own_cache: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    shutil.copytree(refreshed, new)
    recipe = yaml.safe_load((new / "recipe.yaml").read_text())
    (new / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "run": {**recipe["run"], "folder": str(new)}}))
    overrides = [f"corpus.path={desks}", f"run.folder={new}", "training.epochs=6"]
    before = _events(new)
    with pytest.raises(RunError, match="--resume"):
        refresh(taught, overrides, QUIET)
    assert refresh(taught, overrides, QUIET, resume=True) == before[-1]
    shutil.rmtree(new / "student")
    (new / "cycles" / "00" / "cycle.json").unlink()
    (new / "metrics.jsonl").write_text("")
    again = refresh(taught, overrides, QUIET, resume=True)
    assert again["student"] == before[-1]["student"]


def test_a_removed_label_is_not_asked_about(
    taught: Path, desks: Path, own_cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    (tmp_path / "gone.txt").write_text("desk leo\n")
    remove_labels(run, tmp_path / "gone.txt")
    refresh(run, [f"corpus.path={desks}"], QUIET)
    new = tmp_path / "run-refreshed"
    leo = (desks / "labels.txt").read_text().splitlines().index("desk leo")
    assert leo not in Shortlist.load(new / "cycles" / "00" / "shortlist.npz").label_ids_qk
    assert "desk leo" not in load_labels(new / "student")[0]


def test_nothing_added_is_nothing_to_learn(finished_run: tuple[Path, Any]) -> None:
    with pytest.raises(RunError, match="No label was added"):
        refresh(finished_run[0], [], QUIET)


@given(st.integers(0, 6), st.integers(1, 8), st.integers(0, 50))
@settings(max_examples=100, deadline=None)
def test_labels_taken_out_of_a_shortlist_leave_the_rest_in_order(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.permutation(10)[:k] for _ in range(n)]) if n else np.zeros((0, k))
    scores = -np.sort(-rng.uniform(size=(n, k)), axis=1).astype(np.float32)
    ids[rng.uniform(size=(n, k)) < 0.1] = -1
    gone = rng.uniform(size=10) < 0.4
    found = without_labels(Shortlist(np.arange(n), ids.astype(np.int32), scores), gone)
    for row in range(n):
        kept = [(i, s) for i, s in zip(ids[row], scores[row], strict=True) if i >= 0 and not gone[int(i)]]
        left, left_scores = found.of(row)
        assert left.tolist() == [i for i, _ in kept]
        assert left_scores.tolist() == [s for _, s in kept]
