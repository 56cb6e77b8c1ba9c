"""Tag documents with a run's student: one line of JSON in, one line out, in order.

INPUT is .jsonl, .jsonl.gz, .csv or .parquet with a `text` (and, if it likes, an `id`), or - for lines of JSON
on standard input. Each output line holds the id, the labels best first, and their scores (a tagger's cosines, a
classifier's probabilities). A folder of .parquet or .jsonl shards (also .gz, .zst) is labelled shard by shard into
a folder; run again after a kill, the same command goes on with the shards that are not there yet.

engine=ray divides a folder's shards among the workers of a Ray cluster (pip install "lmteach[ray]"); each loads
the student once, and what is written is the same:
  ray.workers=N          workers (one a GPU; where there are none, one a machine)
  ray.cpus=N ray.gpus=N  cores and GPUs of each (its machine's cores shared evenly; 1 GPU where there are any)
  ray.address=HOST:PORT  a cluster that runs, or auto for the one this machine is part of; without it one is
                         started on this machine, and ended with the work

examples:
  lmteach predict runs/lmtx_quickstart docs.jsonl --output tags.jsonl --top-k 5
  cat docs.jsonl | lmteach predict runs/lmtx_quickstart - > tags.jsonl
  lmteach predict runs/llambert_imdb reviews/ --output labelled/ --top-k 1
  lmteach predict exported docs.jsonl --output tags.jsonl --top-k 20 --threshold f1
  lmteach predict runs/llambert_imdb reviews/ --output labelled/ engine=ray ray.workers=4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from lmteach.corpus.reading import InputRecord
    from lmteach.engines.options import EngineOptions
    from lmteach.students.label_shards import TextStudent

CHUNK = 2048  # documents held at a time, so that memory does not grow with the input


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or one that export wrote")
    parser.add_argument(
        "input", metavar="INPUT", help="a file or folder of documents, or - for standard input"
    )
    parser.add_argument(
        "--output",
        default="-",
        metavar="OUT",
        help="a .jsonl file or, for a folder, a folder; - for standard output",
    )
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="labels a document (default 5)")
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="keep labels above it only: f1, precision or recall as fitted on dev, or a probability",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="engine=ray and its keys, see above; backbones=A,B of a student on several: those to read with (all)",
    )


def run(args: argparse.Namespace) -> int:
    """Stream documents through the student."""
    from lmteach.engines.options import take_options
    from lmteach.errors import LmteachError

    engine, args.overrides = take_options(args.overrides)
    if args.top_k < 1:
        raise LmteachError(f"--top-k is {args.top_k}; it must be 1 or more.")
    if args.input != "-" and Path(args.input).is_dir():
        return _run_folder(args, engine)
    if engine.name != "local":
        raise LmteachError(
            f"The engine {engine.name} labels folders of shards; {args.input} is none.",
            where="engine",
            mend="Put the documents into a folder, in several files.",
        )
    if args.output != "-" and (Path(args.output).is_dir() or not Path(args.output).parent.is_dir()):
        what = "is a folder" if Path(args.output).is_dir() else "is in a folder that does not exist"
        raise LmteachError(f"--output {args.output} {what}.")  # said now, not when all is tagged
    from lmteach.corpus.reading import read_documents
    from lmteach.serving.load import read_about

    documents = read_documents(args.input, read_about(args.run).text)
    student = _open(args.run, args.threshold, args.overrides)
    n = 0
    with _opened(args.output) as out:
        for chunk in _chunks(documents):
            _write(student, chunk, args.top_k, out)
            n += len(chunk)
    print(f"predict: {n:,} documents", file=sys.stderr)
    return 0


def _open(run: Path, threshold: str | None, overrides: list[str]) -> TextStudent:
    """Return the student that the command line describes, its threshold in force."""
    import importlib.util

    from lmteach.serving.load import load_student
    from lmteach.serving.student import parse_threshold

    # With torch where it is: bf16 is faster than an ONNX graph in fp32.
    student = load_student(run, backend="torch" if importlib.util.find_spec("torch") else "auto")
    _choose_backbones(student.inner, overrides)
    return student.with_threshold(parse_threshold(threshold))


def _choose_backbones(student: object, overrides: list[str]) -> None:
    """Follow `backbones=A,B`, the one thing that predict lets change."""
    from lmteach.errors import LmteachError

    for text in overrides:
        key, _, value = text.partition("=")
        if key.lstrip("-") != "backbones":
            raise LmteachError(f"predict takes no key '{key}'.", mend="Only backbones=A,B may be given.")
        if not hasattr(student, "use_backbones"):
            raise LmteachError("This student is no classifier on backbones.", where=text)
        student.use_backbones([name for name in value.split(",") if name])


def _run_folder(args: argparse.Namespace, where: EngineOptions) -> int:
    """Label a folder's shards."""
    from lmteach.errors import LmteachError

    output = Path(args.output)
    if args.output == "-" or output.is_file() or output.resolve() == Path(args.input).resolve():
        raise LmteachError(
            f"{args.input} is a folder; its shards need another folder to be labelled into.",
            mend="Name it by --output FOLDER.",
        )
    from lmteach.corpus.shards import find_shards

    shards = find_shards(Path(args.input))
    from lmteach import weights
    from lmteach.engines.options import open_engine
    from lmteach.serving.load import read_about, student_path
    from lmteach.students.label_shards import Options, label_shards
    from lmteach.tracking.console import Console

    options, console = Options(read_about(args.run).text, args.top_k), Console()
    about = {
        "student": weights.fingerprint(student_path(args.run)),
        "text": options.text,
        "top_k": options.top_k,
        **({"threshold": args.threshold} if args.threshold else {}),
        "overrides": args.overrides,
        "input": str(Path(args.input).resolve()),
    }
    student = partial(_open, args.run, args.threshold, args.overrides)
    with open_engine(where, console) as engine:
        found = label_shards(student, shards, output, options, console, about=about, engine=engine)
    rate = f", {found.rows / found.seconds:,.0f} rows/s" if found.rows else ""
    empty = f", {found.empty:,} of them without text" if found.empty else ""
    print(f"predict: {found.rows:,} rows{empty} in {found.seconds:.1f} s{rate}", file=sys.stderr)
    return 0


def _chunks(documents: Iterator[InputRecord]) -> Iterator[list[InputRecord]]:
    """Yield documents by the chunk; those before one that cannot be read come out before its error does."""
    from lmteach.errors import LmteachError

    chunk: list[InputRecord] = []
    try:
        for document in documents:
            chunk.append(document)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except LmteachError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _write(student: TextStudent, chunk: list[InputRecord], top_k: int, out: TextIO) -> None:
    import json

    tags = student.predict([record.document.text for record in chunk], top_k)
    for record, found in zip(chunk, tags, strict=True):
        line = {
            "id": record.fields.get("id", record.document.id),
            "labels": found.labels,
            "scores": found.scores,
        }
        out.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    out.flush()


@contextmanager
def _opened(output: str) -> Iterator[TextIO]:
    """Open the output under a partial name that becomes its own when all is written."""
    if output == "-":
        yield sys.stdout
        return
    path = Path(output)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
    except BaseException:
        if partial.is_file() and partial.stat().st_size:
            print(f"predict: what was tagged by then is in {partial}", file=sys.stderr)
        else:
            partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
