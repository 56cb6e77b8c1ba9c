"""A student labels the rest: shard by shard, each written whole, so that a killed pass goes on where it was.

Memory holds one window of rows, whatever the number of rows; within a window the student sorts by length. The shards
are the parts of an engine's work: one student does them in turn, or several at a time.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmteach.corpus.reading import InputRecord
from lmteach.corpus.shards import ENDINGS, Shard, write_shard
from lmteach.engines.local import LocalEngine
from lmteach.engines.protocol import Engine, Sums, Tell
from lmteach.errors import RunError
from lmteach.students.tags import Tags
from lmteach.tracking.run_folder import TEMPORARY, read_json, write_json, write_whole

if TYPE_CHECKING:
    from lmteach.tracking.console import Console

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


@dataclass(frozen=True)
class ShardWork:
    """What is done to each shard: `open_student` gives the student in whichever process labels."""

    open_student: Callable[[], TextStudent]
    output: Path
    options: Options

    def open(self) -> ShardLabeller:
        """Load the student."""
        return ShardLabeller(self.open_student(), self.output, self.options)


class ShardLabeller:
    """Labels one shard after another with one student; an engine's worker."""

    def __init__(self, student: TextStudent, output: Path, options: Options) -> None:
        self._student, self._output, self._options = student, output, options

    def do(self, part: Shard, tell: Tell) -> None:
        """Label a shard's rows, in order, into a shard of the same name."""

        def write(path: Path) -> None:
            with write_shard(path, part.name) as out:
                for window in part.windows(self._options.text, self._options.window):
                    tags = _predict(self._student, window, self._options.top_k)
                    out.write(window, tags)
                    tell({"rows": len(window), "empty": sum(not _has_text(row) for row in window)})

        write_whole(self._output / part.name, write)

    def close(self) -> None:
        """Let the student go."""
        del self._student


def label_shards(
    open_student: Callable[[], TextStudent],
    shards: Sequence[Shard],
    output: Path,
    options: Options,
    console: Console,
    *,
    about: Mapping[str, Any],
    engine: Engine | None = None,
) -> Counts:
    """Label every row of every shard into a shard of the same name in `output`; those that are there are done.

    Args:
        open_student: gives the student, in whichever process the engine labels.
        about: what the answers depend on (student, text, number of labels), and the `input`; kept in
            `predict.json`, so that a pass is not finished by another student than it was begun by.
        engine: where it is done; None = in this process.

    Raises:
        RunError: `output` holds another student's answers, or another process writes there.
        CorpusError: a shard is malformed; those before it are written.
    """
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    work = ShardWork(open_student, output, options)
    with _claimed(output, about, [shard.name for shard in shards]):
        todo = [shard for shard in shards if not (output / shard.name).is_file()]
        sizes = {shard.name: shard.n_rows() for shard in shards}
        left = sum(sizes[shard.name] for shard in todo)
        counts = Counts(skipped=sum(sizes.values()) - left)
        if counts.skipped:
            console.say(f"predict: {len(shards) - len(todo)} of {len(shards)} shards are there already")
        with console.stage("predict", left, unit="rows") as stage:

            def listen(sums: Sums) -> None:
                before, counts.rows = counts.rows, int(sums.standing.get("rows", 0))
                counts.empty = int(sums.standing.get("empty", 0))
                stage.advance(counts.rows - before, a_second=f"{counts.rows / max(sums.seconds, 1e-9):.0f}")

            with (engine or LocalEngine()).run(work, todo, listen) as answers:
                for _ in answers:
                    pass
        _remove_leftovers(output)  # of a worker that was killed
    counts.seconds = time.monotonic() - started
    return counts


def _predict(student: TextStudent, window: Sequence[InputRecord], top_k: int) -> list[Tags]:
    """Return each row's labels; none where it has no text."""
    full = [i for i, row in enumerate(window) if _has_text(row)]
    found = student.predict([window[i].document.text for i in full], top_k) if full else []
    tags = [Tags((), ())] * len(window)
    for i, tag in zip(full, found, strict=True):
        tags[i] = tag
    return tags


def _has_text(row: InputRecord) -> bool:
    return bool(row.document.text.strip())


@contextmanager
def _claimed(output: Path, about: Mapping[str, Any], names: Sequence[str]) -> Iterator[None]:
    """Keep other processes out of `output`, and other students' answers apart."""
    with (output / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError("Another process is writing here.", where=str(output)) from error
        _remove_leftovers(output)
        path = output / ABOUT
        before = read_json(path) if path.is_file() else {}
        changed = [key for key in {**before, **about} if before.get(key) != about.get(key)]
        there = {file.name for file in output.iterdir() if file.name.endswith(ENDINGS)}
        # Another input may be answered beside the first, by the same student, where the names differ.
        if (there and set(changed) - {"input"}) or (changed and there.intersection(names)):
            what = f"are of another pass ({', '.join(changed)} differ)" if before else "are of no pass"
            raise RunError(
                f"The answers here {what}.",
                where=str(output),
                mend="Name another --output, or remove this folder.",
            )
        write_json(path, dict(about))
        yield


def _remove_leftovers(output: Path) -> None:
    """Remove what a process that was killed left half written."""
    for leftover in output.glob(TEMPORARY):
        if leftover.is_file():
            os.unlink(leftover)
