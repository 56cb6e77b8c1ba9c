"""Labelling shards: order, kills, other students' answers, and memory that does not grow with the rows."""

from __future__ import annotations

import fcntl
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmteach.corpus.shards import find_shards
from lmteach.errors import CorpusError, RunError
from lmteach.students.label_shards import Counts, Options, label_shards
from lmteach.students.tags import Tags
from lmteach.tracking.console import Console

ABOUT = {"student": "one", "top_k": 1}


class Echo:
    """Labels a text by its last word; can be told to break."""

    def __init__(self, break_at: int | None = None) -> None:
        self.break_at, self.seen = break_at, 0

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        self.seen += len(texts)
        if self.break_at is not None and self.seen >= self.break_at:
            raise KeyboardInterrupt
        return [Tags((text.split()[-1],) * top_k, (1.0,) * top_k) for text in texts]


def shards_of(folder: Path, sizes: Sequence[int], filler: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    number = 0
    for s, n in enumerate(sizes):
        with (folder / f"part-{s}.jsonl").open("w") as file:
            for _ in range(n):
                file.write(json.dumps({"id": f"r{number}", "text": f"{filler} w{number}"}) + "\n")
                number += 1
    return folder


def run(student: Any, source: Path, output: Path, window: int = 7, about: Any = ABOUT) -> Counts:
    options = Options("{text}", 1, window)
    return label_shards(
        lambda: student, find_shards(source), output, options, Console(quiet=True), about=about
    )


def answers(output: Path) -> list[tuple[str, str]]:
    found = [json.loads(line) for p in sorted(output.glob("part-*.jsonl")) for line in p.open()]
    return [(row["id"], row["labels"][0]) for row in found]


def test_every_row_is_answered_in_order(tmp_path: Path) -> None:
    source = shards_of(tmp_path / "in", (20, 1, 0, 13))
    counts = run(Echo(), source, tmp_path / "out")
    assert answers(tmp_path / "out") == [(f"r{i}", f"w{i}") for i in range(34)]
    assert (counts.rows, counts.skipped, counts.empty) == (34, 0, 0)


@pytest.mark.parametrize("break_at", [1, 20, 25, 34])
def test_a_killed_pass_goes_on_shard_by_shard(break_at: int, tmp_path: Path) -> None:
    source, output = shards_of(tmp_path / "in", (20, 14)), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(Echo(break_at), source, output)
    whole = [p.name for p in output.glob("part-*")]
    assert whole == (["part-0.jsonl"] if break_at > 20 else [])
    student = Echo()
    counts = run(student, source, output)
    assert counts.skipped == 20 * len(whole)
    assert student.seen == 34 - counts.skipped
    assert answers(output) == [(f"r{i}", f"w{i}") for i in range(34)]
    assert not list(output.glob(".*.tmp"))


def test_another_students_answers_are_not_gone_on_with(tmp_path: Path) -> None:
    source = shards_of(tmp_path / "in", (3,))
    run(Echo(), source, tmp_path / "out")
    with pytest.raises(RunError, match="student"):
        run(Echo(), source, tmp_path / "out", about={**ABOUT, "student": "two"})


def test_another_students_answers_are_not_laid_beside(tmp_path: Path) -> None:
    one, two = shards_of(tmp_path / "one", (3,)), shards_of(tmp_path / "two", (0, 3))
    (two / "part-0.jsonl").unlink()
    run(Echo(), one, tmp_path / "out", about={**ABOUT, "input": "one"})
    for about in ({**ABOUT, "student": "two", "input": "two"}, {**ABOUT, "threshold": "f1", "input": "two"}):
        with pytest.raises(RunError, match="another pass"):
            run(Echo(), two, tmp_path / "out", about=about)
    run(Echo(), two, tmp_path / "out", about={**ABOUT, "input": "two"})  # the same student, other names
    assert len(answers(tmp_path / "out")) == 6
    with pytest.raises(RunError, match="input differ"):
        run(Echo(), one, tmp_path / "out", about={**ABOUT, "input": "one"})


def test_files_that_no_pass_wrote_do_not_pass_for_answers(tmp_path: Path) -> None:
    source = shards_of(tmp_path / "in", (3,))
    shards_of(tmp_path / "out", (3,))
    with pytest.raises(RunError, match="of no pass"):
        run(Echo(), source, tmp_path / "out")


def test_a_row_without_labels_is_not_one_without_text(tmp_path: Path) -> None:
    class Silent(Echo):
        def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
            return [Tags((), ())] * len(texts)

    counts = run(Silent(), shards_of(tmp_path / "in", (3,)), tmp_path / "out")
    assert (counts.rows, counts.empty) == (3, 0)


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    source, output = shards_of(tmp_path / "in", (3,)), tmp_path / "out"
    output.mkdir()
    with (output / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="Another process"):
            run(Echo(), source, output)


def test_rows_without_text_get_no_label_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = [{"id": "a", "text": "x y"}, {"id": "b", "text": ""}, {"id": "c", "text": "z"}]
    (tmp_path / "in" / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = run(Echo(), tmp_path / "in", tmp_path / "out")
    found = [json.loads(line) for line in (tmp_path / "out" / "s.jsonl").open()]
    assert [row["labels"] for row in found] == [["y"], [], ["z"]]
    assert counts.empty == 1


def test_a_malformed_shard_leaves_those_before_it(tmp_path: Path) -> None:
    source = shards_of(tmp_path / "in", (5, 5))
    with (source / "part-1.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(CorpusError, match=r"part-1\.jsonl:6"):
        run(Echo(), source, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").glob("part-*")] == ["part-0.jsonl"]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for n in (3000, 15000):
        source = shards_of(tmp_path / f"in{n}", (n,), filler="x" * 2000)
        tracemalloc.start()
        run(Echo(), source, tmp_path / f"out{n}", window=200)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
