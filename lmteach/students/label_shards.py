"""A student labels the rest: shard by shard, each written whole, so that a killed pass goes on where it was.

Memory holds one window of rows, whatever the number of rows; within a window the student sorts by length.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmteach.corpus.reading import InputRecord
from lmteach.corpus.shards import Shard, write_shard
from lmteach.errors import RunError
from lmteach.students.tags import Tags
from lmteach.tracking.run_folder import TEMPORARY, read_json, write_json, write_whole

if TYPE_CHECKING:
    from lmteach.tracking.console import Console, Progress

WINDOW = 4096  # rows held at a time: enough of them that batches of like length fill up
ABOUT = "predict.json"


class TextStudent(Protocol):
    """What labels: a tagger or a classifier."""

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        """Return each text's labels, best first."""


@dataclass(frozen=True)
class Options:
    """`text`: the template of a document's text. `window`: rows held at a time."""

    text: str = "{text}"
    top_k: int = 5
    window: int = WINDOW


@dataclass
class Counts:
    """What a pass did. `skipped` rows were labelled by an earlier pass; `empty` ones have no text, hence no label."""

    rows: int = 0
    skipped: int = 0
    empty: int = 0
    seconds: float = 0.0


def label_shards(
    student: TextStudent,
    shards: Sequence[Shard],
    output: Path,
    options: Options,
    console: Console,
    *,
    about: Mapping[str, Any],
) -> Counts:
    """Label every row of every shard into a shard of the same name in `output`; those that are there are done.

    Args:
        about: what the answers depend on (student, text, number of labels); kept in `predict.json`, so that a
            pass is not finished by another student than it was begun by.

    Raises:
        RunError: `output` holds another student's answers, or another process writes there.
        CorpusError: a shard is malformed; those before it are written.
    """
    counts, started = Counts(), time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with _claimed(output, about):
        todo = [shard for shard in shards if not (output / shard.name).is_file()]
        sizes = {shard.name: shard.n_rows() for shard in shards}
        left = sum(sizes[shard.name] for shard in todo)
        counts.skipped = sum(sizes.values()) - left
        if counts.skipped:
            console.say(f"predict: {len(shards) - len(todo)} of {len(shards)} shards are there already")
        with console.stage("predict", left, unit="rows") as stage:
            for shard in todo:

                def write(path: Path, shard: Shard = shard) -> None:
                    _label_shard(student, shard, path, options, counts, stage, started)

                write_whole(output / shard.name, write)
    counts.seconds = time.monotonic() - started
    return counts


def _label_shard(
    student: TextStudent,
    shard: Shard,
    path: Path,
    options: Options,
    counts: Counts,
    stage: Progress,
    started: float,
) -> None:
    with write_shard(path, shard.name) as out:
        for window in shard.windows(options.text, options.window):
            tags = _predict(student, window, options.top_k)
            out.write(window, tags)
            counts.rows += len(window)
            counts.empty += sum(not tag.labels for tag in tags)
            stage.advance(len(window), a_second=f"{counts.rows / (time.monotonic() - started):.0f}")


def _predict(student: TextStudent, window: Sequence[InputRecord], top_k: int) -> list[Tags]:
    """Return each row's labels; none where it has no text."""
    full = [i for i, row in enumerate(window) if row.document.text.strip()]
    found = student.predict([window[i].document.text for i in full], top_k) if full else []
    tags = [Tags((), ())] * len(window)
    for i, tag in zip(full, found, strict=True):
        tags[i] = tag
    return tags


@contextmanager
def _claimed(output: Path, about: Mapping[str, Any]) -> Iterator[None]:
    """Keep other processes out of `output`, and other students' answers apart."""
    with (output / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError("Another process is writing here.", where=str(output)) from error
        for leftover in output.glob(TEMPORARY):  # of a pass that was killed
            if leftover.is_file():
                os.unlink(leftover)
        path = output / ABOUT
        if path.is_file() and (before := read_json(path)) != dict(about):
            changed = [key for key in about if before.get(key) != about[key]]
            raise RunError(
                f"The answers here are of another pass ({', '.join(changed) or 'unknown'} differ).",
                where=str(output),
                mend="Name another --output, or remove this folder.",
            )
        write_json(path, dict(about))
        yield
