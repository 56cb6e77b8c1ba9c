"""LlamBERT end to end: a teacher's labels, a student, the table of regimes, and shards labelled by the student."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

Review = Callable[[random.Random, int], str]


@pytest.fixture(scope="module")
def review(film_words: tuple[list[str], list[str]]) -> Review:
    """Return a function that writes a review: of label 1 a good one."""

    def write(rng: random.Random, label: int) -> str:
        words = rng.sample(film_words[1 - label], 5) + rng.sample(film_words[label], 1)
        rng.shuffle(words)
        return f"A {', '.join(words)} film."

    return write


@pytest.fixture(scope="module")
def corpus(review: Review, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("reviews"), random.Random(5)
    for split, n in (("train", 96), ("test", 40), ("extra", 64)):
        rows = [{"id": f"{split}{i}", "text": review(rng, i % 2), "labels": [i % 2]} for i in range(n)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "labels.txt").write_text("negative\npositive\n")
    return folder


@pytest.fixture(scope="module")
def recipe(corpus: Path, minilm1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("llambert")
    content = {
        "extends": "base/llambert.yaml",
        "name": "reviews",
        "corpus": {"path": str(corpus), "n_extra": None},
        "teacher": {"name": "oracle", "one_class": True, "noise": 0.1},
        "student": {"encoder": {"model": str(minilm1), "document_length": 24, "search_length": 24}},
        "training": {"epochs": 4, "batch_size": 8, "lr": 1e-3, "warmup_steps": 2, "precision": "fp32"},
        "paper": {"gold": 99.5},
        "evaluation": {"resamples": 100},
        "run": {"folder": str(home / "run"), "store": str(home / "store.sqlite")},
    }
    path = home / "reviews.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path, cache_folder: Path) -> Path:
    """The folder of a finished run, taught by a teacher that is wrong on a tenth."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        folder = recipe.parent / "trained"
        loaded = load_recipe(str(recipe), [f"run.folder={folder}", "loss.name=gce"]).recipe
        final = fit(loaded, Console(quiet=True))
    assert final["student"]["accuracy"] > 0.85
    assert 0.8 < final["teacher"]["train"]["accuracy"] < 1
    return folder


@pytest.mark.slow
def test_all_regimes_end_in_one_table(recipe: Path, call: Any, capsys: Any) -> None:
    status, out, err = call("fit", "--recipe", recipe, "supervision=all", "training.epochs=2", "--quiet")
    assert status == 0, err
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["gold"][1] == "96"
    assert rows["gold"][-1] == "99.50"
    assert rows["teacher_extra"][1] == "160"
    assert rows["combined"][1:4] == ["64", "+", "96"]
    stages = [e for e in events(recipe.parent / "run" / "combined") if e["event"] == "stage"]
    assert [stage["documents"] for stage in stages] == [64, 96]


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def shards(review: Review, folder: Path, n_shards: int, n_rows: int) -> list[int]:
    """Write shards in turn as parquet and JSON lines; return what each row is."""
    import pyarrow as pa

    folder.mkdir()
    rng, truth = random.Random(9), []
    for s in range(n_shards):
        labels = [rng.randrange(2) for _ in range(n_rows)]
        rows = [{"id": f"{s}-{i}", "text": review(rng, label)} for i, label in enumerate(labels)]
        if s % 2:
            (folder / f"s{s}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"s{s}.parquet")
        truth += labels
    return truth


def answers(folder: Path, n_shards: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for s in range(n_shards):
        if s % 2:
            found += [json.loads(line) for line in (folder / f"s{s}.jsonl").open()]
        else:
            found += pq.read_table(folder / f"s{s}.parquet").to_pylist()
    return found


def test_the_student_labels_the_rest(review: Review, trained: Path, call: Any, tmp_path: Path) -> None:
    truth = shards(review, tmp_path / "in", 3, 40)
    status, _, err = call("predict", trained, tmp_path / "in", "--output", tmp_path / "out", "--top-k", 1)
    assert status == 0, err
    assert "120 rows" in err
    assert "rows/s" in err
    found = answers(tmp_path / "out", 3)
    assert [row["id"] for row in found] == [f"{s}-{i}" for s in range(3) for i in range(40)]
    right = [
        row["labels"] == [["negative", "positive"][label]] for row, label in zip(found, truth, strict=True)
    ]
    assert sum(right) > 0.8 * len(right)
    assert all(0.5 <= row["scores"][0] <= 1 for row in found)
    status, _, err = call("predict", trained, tmp_path / "in", "--output", tmp_path / "out", "--top-k", 2)
    assert status == 1
    assert "top_k" in err


@pytest.mark.slow
def test_a_kill_costs_one_shard(
    review: Review, trained: Path, spawn: Callable[..., Any], call: Any, tmp_path: Path
) -> None:
    shards(review, tmp_path / "in", 40, 60)
    out = tmp_path / "out"
    process = spawn("predict", trained, tmp_path / "in", "--output", out, "--top-k", 1)
    deadline = time.monotonic() + 120
    while not list(out.glob("s*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("s*")}
    assert before
    status, _, err = call("predict", trained, tmp_path / "in", "--output", out, "--top-k", 1)
    assert status == 0, err
    assert [row["id"] for row in answers(out, 40)] == [f"{s}-{i}" for s in range(40) for i in range(60)]
    assert all((out / name).stat().st_mtime_ns == time_ for name, time_ in before.items())
    if len(before) < 40:
        assert "shards are there already" in err


def test_a_folder_needs_a_folder(review: Review, trained: Path, call: Any, tmp_path: Path) -> None:
    shards(review, tmp_path / "in", 1, 2)
    for output in ("-", tmp_path / "in"):
        status, _, err = call("predict", trained, tmp_path / "in", "--output", output)
        assert status == 1
        assert "another folder" in err
