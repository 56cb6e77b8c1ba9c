"""Encode, index and search at 10^4, 10^5 and 10^6 labels: time, peak memory, and how both grow.

    python benchmarks/scale.py                                   # all of it: 2,000 queries, about 15 minutes
    python benchmarks/scale.py --labels 1000000 --encode --documents 0 --folder BIG   # one size, by itself
    python benchmarks/scale.py --labels 10000 100000 --searchers exact scann auto --documents 20000

Each size runs in a process of its own, so that its peak resident memory is its own. Vectors are synthetic (clusters,
384-d) and come memory-mapped from a file, as a run's large ones do; `private` leaves out pages of mapped files,
which the system may take back; `held` is what is private when all is done. Recall is of the same run's exact search.
Encoding is measured with a real encoder (MiniLM) on made-up label names, as many as `--encode` says: its time grows
with their number. The corpus line writes that many documents as Arrow and walks through their texts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np

DIM = 384
K = 30
ROWS = 50_000  # of vectors made at a time
WORDS = ("telescope", "star", "galaxy", "planet", "orbit", "nebula", "moon", "comet", "observatory", "light")


def main() -> None:
    arguments = _arguments()
    with contextlib.ExitStack() as opened:
        folder = arguments.folder or opened.enter_context(tempfile.TemporaryDirectory())
        Path(folder).mkdir(parents=True, exist_ok=True)
        print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        if arguments.encode:
            print("encode label names by MiniLM", flush=True)
            _grow(arguments.encode, lambda n: _apart("encode", n, folder), ("seconds", "peak_MB"))
        if arguments.documents:
            print(
                f"corpus of {arguments.documents:,} documents: {_line(_apart('corpus', arguments.documents, folder))}"
            )
        for name in arguments.searchers:
            print(f"\n{name}, {arguments.queries:,} queries, k = {K}", flush=True)
            _grow(
                arguments.labels,
                lambda n, name=name: _apart("search", n, folder, name, str(arguments.queries)),
                ("build_s", "search_s", "peak_MB", "private_MB"),
            )


def _grow(sizes: list[int], measure: Callable[[int], dict[str, float]], keys: tuple[str, ...]) -> None:
    """Print what each size measured, and how it grew from the one before."""
    before: dict[str, float] | None = None
    for n in sizes:
        found = measure(n)
        growth = ""
        if before is not None:
            growth = "   grew " + ", ".join(f"{k} x{found[k] / max(before[k], 1e-9):.1f}" for k in keys)
        print(f"  {n:>9,} labels: {_line(found)}{growth}", flush=True)
        before = found


def _line(found: dict[str, float]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:,.3f}"
        if name == "recall"
        else f"{name.replace('_', ' ')} {value:,.1f}"
        for name, value in found.items()
    )


def _apart(*task: object) -> dict[str, float]:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--task", *map(str, task)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _memory() -> tuple[float, float]:
    """Return this process's peak resident memory and what of now's is private, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(status["VmHWM"].split()[0]) / 1024, float(status["RssAnon"].split()[0]) / 1024


class _Watch(threading.Thread):
    """Looks at private memory ten times a second: the system keeps no peak of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._done = 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, _memory()[1])

    def stop(self) -> float:
        self._done.set()
        self.join()
        return max(self.peak, _memory()[1])


def _search(n: int, folder: Path, name: str, n_queries: int) -> dict[str, float]:
    from lmteach import registry
    from lmteach.search.choose import recall_at_k
    from lmteach.search.shortlist import make_shortlist

    labels_lD = _vectors(folder / f"labels-{n}.npy", n, seed=1)
    queries_qD = np.array(_vectors(folder / f"queries-{n_queries}.npy", n_queries, seed=2))
    registry.build("searcher", {"name": name}).build(labels_lD[:500])  # imports its libraries
    searcher = registry.build("searcher", {"name": name})
    base, _ = _memory()
    watch, clock = _Watch(), time.process_time()
    started = time.perf_counter()
    expect = getattr(searcher, "expect", None)
    if expect is not None:
        expect(n_queries)
    searcher.build(labels_lD)
    built = time.perf_counter()
    found = make_shortlist(np.arange(n_queries), queries_qD, searcher, n_retrieved=300, n_kept=K)
    searched = time.perf_counter()
    assert len(found) == n_queries
    peak, held = _memory()
    measured = {
        "build_s": built - started,
        "search_s": searched - built,
        "queries_per_s": n_queries / (searched - built),
        "processor_s": time.process_time() - clock,
        "peak_MB": peak,
        "private_MB": watch.stop(),
        "held_MB": held,
        "of_vectors_MB": labels_lD.nbytes / 2**20,
        "before_MB": base,
    }
    exact = folder / f"exact-{n}-{n_queries}.npy"
    if name == "exact":
        np.save(exact, found.label_ids_qk)
    elif exact.is_file():
        measured["recall"] = recall_at_k(found.label_ids_qk, np.load(exact))
    return measured


def _vectors(path: Path, n: int, seed: int) -> Any:
    """Return [n, DIM] unit vectors in clusters, from a file that is mapped into memory."""
    if not path.exists():
        rng, centre = np.random.default_rng(seed), np.random.default_rng(0)
        centres = centre.standard_normal((1000, DIM), dtype=np.float32)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, DIM))
        for start in range(0, n, ROWS):
            m = min(ROWS, n - start)
            part = centres[rng.integers(0, len(centres), m)] + rng.standard_normal((m, DIM), dtype=np.float32)
            file[start : start + m] = part / np.linalg.norm(part, axis=1, keepdims=True)
        file.flush()
        del file
    return np.load(path, mmap_mode="c")


def _encode(n: int) -> dict[str, float]:
    from lmteach.machine import choose_precision
    from lmteach.students.encode import encode_texts
    from lmteach.students.pooled_encoder import PooledEncoder
    from lmteach.students.room import new_vectors
    from lmteach.weights import MINILM, resolve

    names = [f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} of the {WORDS[i // 100 % 10]} {i}" for i in range(n)]
    encoder = PooledEncoder(str(resolve(MINILM)), lengths={"document": 256, "search": 256, "label": 32})
    precision = choose_precision("auto", "cpu")
    encode_texts(encoder, names[:64], "label", precision=precision)
    started = time.perf_counter()
    encode_texts(encoder, names, "label", precision=precision, out=new_vectors(n, encoder.dim))
    seconds = time.perf_counter() - started
    peak, private = _memory()
    return {"seconds": seconds, "texts_per_s": n / seconds, "peak_MB": peak, "private_MB": private}


def _corpus(n: int, folder: Path) -> dict[str, float]:
    from lmteach.corpus.load import load_corpus
    from lmteach.recipe.schema import CorpusSection

    source = folder / f"corpus-{n}"
    source.mkdir(exist_ok=True)
    with (source / "train.jsonl").open("w") as file:
        for i in range(n):
            text = " ".join(WORDS[(i + 3 * j) % 10] for j in range(150)) + f" {i}"
            file.write(json.dumps({"id": str(i), "text": text, "labels": [i % 10]}) + "\n")
    (source / "labels.txt").write_text("".join(f"{word}\n" for word in WORDS))
    os.environ["LMTEACH_CACHE"] = str(folder / "cache")
    started = time.perf_counter()
    load_corpus(CorpusSection(path=str(source), n_dev=10), 108, Path.cwd())
    read = time.perf_counter()
    corpus = load_corpus(CorpusSection(path=str(source), n_dev=10), 108, Path.cwd())
    opened = time.perf_counter()
    _, before = _memory()
    length = 0
    for start in range(0, len(corpus.train), 16_384):
        length += sum(map(len, corpus.train.texts(np.arange(start, min(start + 16_384, len(corpus.train))))))
    walked = time.perf_counter()
    peak, private = _memory()
    return {
        "first_read_s": read - started,
        "opened_again_s": opened - read,
        "walked_s": walked - opened,
        "text_MB": length / 2**20,
        "peak_MB": peak,
        "private_grew_MB": private - before,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--searchers", nargs="+", default=["exact", "scann"])
    parser.add_argument(
        "--encode", type=int, nargs="*", default=[1000, 10_000], help="label names; nothing = none"
    )
    parser.add_argument("--documents", type=int, default=200_000, help="of the corpus; 0 = none")
    parser.add_argument(
        "--folder",
        help="keep vectors (2 GB at 10^6 labels) and what exact search found here, for a run with another searcher",
    )
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def _do(task: list[str]) -> dict[str, float]:
    kind, n, folder = task[0], int(task[1]), Path(task[2])
    if kind == "encode":
        return _encode(n)
    if kind == "corpus":
        return _corpus(n, folder)
    return _search(n, folder, task[3], int(task[4]))


if __name__ == "__main__":
    asked = _arguments().task
    if asked:
        print(json.dumps(_do(asked)))
    else:
        main()
