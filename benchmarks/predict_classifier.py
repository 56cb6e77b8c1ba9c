"""Rows a second of `lmteach predict RUN FOLDER` beside `transformers.pipeline("text-classification")`.

Same weights, dtype, texts and cut, one process, turn by turn. lmteach is timed end to end: shards read, labelled,
written. transformers is given the texts as a list and timed at each batch size; its best one counts. Rates are given
by the clock and by processor seconds: on a machine that others use at the same time only the latter compare.

    python benchmarks/predict_classifier.py RUN TEXTS --rows 400 --precision bf16

RUN is a finished run of a tuned classifier; TEXTS a .jsonl (also .gz, .zst) or .parquet file with a field `text`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lmteach.corpus.reading import read_documents
from lmteach.corpus.shards import find_shards
from lmteach.students.class_student import ClassCard
from lmteach.students.label_shards import Options, label_shards
from lmteach.students.open_classifier import open_classifier
from lmteach.tracking.console import Console

OURS = "lmteach predict"
BATCH_SIZES = (1, 8, 32)


def main() -> None:
    """Time both and print rows a second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--repeats", type=int, default=2, help="turns; each one's fastest counts")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    folder = args.run / "student" if (args.run / "student").is_dir() else args.run
    documents = read_documents(args.texts)
    texts = [record.document.text for record in itertools.islice(documents, args.rows)]
    cut = ClassCard.load(folder).max_tokens
    n_threads = torch.get_num_threads()
    print(f"{len(texts)} texts cut at {cut} tokens, {args.precision}, {args.device}, {n_threads} threads")
    ours = _Ours(folder, texts, args)
    theirs = _Theirs(folder, texts, cut, args)
    runs = {OURS: ours.run} | {f"pipeline, batch {n}": partial(theirs.run, n) for n in BATCH_SIZES}
    rates = {name: Rates() for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            rates[name].time(run, len(texts))
    for name, rate in rates.items():
        print(f"{name:<22} {rate.clock:8.1f} rows/s {rate.processor:8.1f} rows a processor second")
    best = [max(getattr(r, by) for n, r in rates.items() if n != OURS) for by in ("clock", "processor")]
    print(f"lmteach / best pipeline {rates[OURS].clock / best[0]:.2f}, {rates[OURS].processor / best[1]:.2f}")
    same = sum(a == b for a, b in zip(ours.labels(), theirs.labels, strict=True))
    print(f"same label on {same} of {len(texts)} texts")


@dataclass
class Rates:
    """The best rates of all turns."""

    clock: float = 0.0
    processor: float = 0.0

    def time(self, run: Callable[[], None], n_rows: int) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        run()
        self.clock = max(self.clock, n_rows / (time.perf_counter() - clock))
        self.processor = max(self.processor, n_rows / (time.process_time() - processor))


class _Ours:
    """Shards of 4,096 rows on disk, labelled into another folder."""

    def __init__(self, folder: Path, texts: list[str], args: argparse.Namespace) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.source = Path(self.home.name, "in")
        self.source.mkdir()
        size = 4096
        for number, start in enumerate(range(0, len(texts), size)):
            lines = [
                json.dumps({"id": start + i, "text": t}) for i, t in enumerate(texts[start : start + size])
            ]
            (self.source / f"part-{number}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.student = open_classifier(folder, device=args.device, precision=args.precision)
        self.turn = 0

    def run(self) -> None:
        self.turn += 1
        shards, out = find_shards(self.source), Path(self.home.name, f"out{self.turn}")
        label_shards(lambda: self.student, shards, out, Options(top_k=1), Console(quiet=True), about={})

    def labels(self) -> list[str]:
        files = sorted(Path(self.home.name, f"out{self.turn}").glob("part-*"))
        return [json.loads(line)["labels"][0] for file in files for line in file.open(encoding="utf-8")]


class _Theirs:
    def __init__(self, folder: Path, texts: list[str], cut: int, args: argparse.Namespace) -> None:
        from transformers import pipeline

        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.precision]
        self.pipe: Any = pipeline("text-classification", model=str(folder), dtype=dtype, device=args.device)
        self.texts, self.cut = texts, cut
        self.labels: list[str] = []

    def run(self, batch_size: int) -> None:
        with torch.inference_mode():
            found = self.pipe(self.texts, batch_size=batch_size, truncation=True, max_length=self.cut)
        self.labels = [answer["label"] for answer in found]


if __name__ == "__main__":
    main()
