"""Rows a second of `lmteach predict RUN FOLDER`: in this process, and on Ray workers of this machine.

Each engine labels the same shards, turn by turn, in a process of its own: some rows and three times as many, so that
what starting costs (Ray, the workers, loading the student) is told apart from what a row costs.

    python benchmarks/engines.py RUN TEXTS --rows 400 --workers 2

RUN is a finished run; TEXTS a .jsonl (also .gz, .zst) or .parquet file with a field `text`. Processor time is not
given, since Ray's processes are not the command's children to count: run it on a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lmteach.corpus.reading import read_documents


def main() -> None:
    """Time the engines and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="turns; the fastest counts")
    args = parser.parse_args()
    found = itertools.islice(read_documents(args.texts), 3 * args.rows)
    texts = [record.document.text for record in found]
    sizes = (len(texts) // 3, len(texts))
    engines = {"local": [], f"ray, {args.workers} workers": ["engine=ray", f"ray.workers={args.workers}"]}
    best = {(name, n): float("inf") for name in engines for n in sizes}
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            write_shards(Path(folder, f"in{n}"), texts[:n], args.shards)
        for turn, (name, words), n in itertools.product(range(args.repeats), engines.items(), sizes):
            out = Path(folder, f"out-{turn}-{name}-{n}")
            best[name, n] = min(best[name, n], timed(args.run, Path(folder, f"in{n}"), out, words))
    print(f"{os.cpu_count()} cores, {sizes[0]} and {sizes[1]} rows in {args.shards} shards")
    print(f"{'':<16} {'start':>8} {'rows/s':>8} {'all, s':>8}")
    for name in engines:
        small, large = (best[name, n] for n in sizes)
        rate = (sizes[1] - sizes[0]) / max(large - small, 1e-9)
        print(f"{name:<16} {small - sizes[0] / rate:8.1f} {rate:8.1f} {large:8.1f}")


def write_shards(folder: Path, texts: Sequence[str], n: int) -> None:
    """Write texts to `n` shards of JSON lines."""
    folder.mkdir()
    for s in range(n):
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts[s::n]]
        (folder / f"part-{s:03d}.jsonl").write_text("".join(lines), encoding="utf-8")


def timed(run: Path, shards: Path, out: Path, words: Sequence[str]) -> float:
    """Return the seconds that a command takes, from its start to its end."""
    command = [sys.executable, "-m", "lmteach.cli.main", "predict", run, shards, "--output", out, *words]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
