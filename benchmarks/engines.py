"""Rows a second of `lmteach predict RUN FOLDER`: in this process, and on Ray workers of this machine.

Each engine labels the same shards, turn by turn, in a process of its own: some rows and three times as many, so that
what starting costs (Ray, the workers, loading the student) is told apart from what a row costs. By the clock and by
processor seconds: on a machine that others use at the same time only the latter compare. Those of the processes that
hold the student are given apart from all others of the command: Ray's own use some for as long as they are there.
Linux only: they are read from /proc.

    python benchmarks/engines.py RUN TEXTS --rows 400 --workers 2

RUN is a finished run; TEXTS a .jsonl (also .gz, .zst) or .parquet file with a field `text`.
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
from typing import NamedTuple

from lmteach.corpus.reading import read_documents

TICKS = os.sysconf("SC_CLK_TCK")


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
    taken: dict[tuple[str, int], list[Seconds]] = {(name, n): [] for name in engines for n in sizes}
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            write_shards(Path(folder, f"in{n}"), texts[:n], args.shards)
        for turn, (name, words), n in itertools.product(range(args.repeats), engines.items(), sizes):
            out = Path(folder, f"out-{turn}-{name}-{n}")
            taken[name, n].append(timed(args.run, Path(folder, f"in{n}"), out, words))
    print(f"{os.cpu_count()} cores, {sizes[0]} and {sizes[1]} rows in {args.shards} shards")
    for what in Seconds._fields:
        print(f"{what:<22} {'to start':>9} {'rows/s':>8} {'all rows':>9}")
        for name in engines:
            small, large = (min(getattr(seconds, what) for seconds in taken[name, n]) for n in sizes)
            rate = (sizes[1] - sizes[0]) / max(large - small, 1e-9)
            print(f"  {name:<20} {small - sizes[0] / rate:9.1f} {rate:8.1f} {large:9.1f}")


class Seconds(NamedTuple):
    """What a command took: by the clock, on processors in processes that hold the student, and in all."""

    clock: float
    students: float
    processors: float


def write_shards(folder: Path, texts: Sequence[str], n: int) -> None:
    """Write texts to `n` shards of JSON lines."""
    folder.mkdir()
    for s in range(n):
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts[s::n]]
        (folder / f"part-{s:03d}.jsonl").write_text("".join(lines), encoding="utf-8")


def timed(run: Path, shards: Path, out: Path, words: Sequence[str]) -> Seconds:
    """Run a command to its end."""
    command = [sys.executable, "-m", "lmteach.cli.main", "predict", run, shards, "--output", out, *words]
    started, used = time.perf_counter(), dict[tuple[int, bool], float]()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            used |= processor_seconds(process.pid, with_student="ray::MapWorker" if words else "")
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: status {process.returncode}")
    students = sum(seconds for (_, holds), seconds in used.items() if holds)
    return Seconds(time.perf_counter() - started, students, sum(used.values()))


def processor_seconds(pid: int, with_student: str) -> dict[tuple[int, bool], float]:
    """Return what a process and all under it have used so far, and whether each is called `with_student...`."""
    parents, used, called = {}, {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            called[int(stat.parent.name)] = stat.with_name("cmdline").read_text()
        except OSError:  # it has ended
            continue
        number = int(stat.parent.name)
        parents[number], used[number] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    found, new = {pid}, {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return {(n, called[n].startswith(with_student)): used[n] for n in found if n in used}


if __name__ == "__main__":
    main()
