"""Peak resident memory of `lmteach fit` and `lmteach predict RUN FOLDER`, as the number of rows grows.

    python benchmarks/classifier_memory.py                                  # predict 10,000 and 100,000 rows
    python benchmarks/classifier_memory.py --fit 10000 100000 --rows        # fit alone
    python benchmarks/classifier_memory.py --student minilm --shards parquet --words 60

Both verbs run as anyone runs them, each in a process of its own, whose peak the system tells. The student is a small
BERT of random weights with MiniLM's tokenizer, fine-tuned here on a few hundred made-up texts, since rows are what is
looked at, or with `--student minilm` MiniLM itself; `predict` reads shards of 10,000 rows. `fit` trains the small one
for one epoch, validation and test included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

WORDS = {
    "negative": ("dreadful", "tedious", "clumsy", "hollow", "dull", "wooden", "bland", "sloppy"),
    "positive": ("splendid", "moving", "delightful", "clever", "warm", "gripping", "tender", "witty"),
}
SHARD = 10_000  # rows of one


def main() -> None:
    """Measure what was asked for, size by size."""
    args = _arguments()
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        home = Path(name)
        os.environ["LMTEACH_CACHE"] = str(home / "cache")
        for n in args.fit:
            _fit(home, n, args.words)
        if args.rows:
            run = _tuned(home, args.student)
        for n in args.rows:
            _predict(home, run, n, args.words, args.shards)


def _fit(home: Path, n: int, n_words: int) -> None:
    corpus = _write_corpus(home / f"fit-{n}", n, n // 10, n_words)
    model = _small_bert(home / "bert")
    keys = ["training.epochs=1", "training.batch_size=512", "training.warmup_steps=0"]
    seconds, peak, _ = _lmteach("fit", "--recipe", _recipe(home, corpus, model, home / f"run-{n}"), *keys)
    print(f"fit     {n:>9,} rows, {_size(corpus):,.0f} MB: {seconds:.0f} s, peak {peak:,.0f} MB", flush=True)


def _tuned(home: Path, student: str) -> Path:
    """Return the run of a fine-tuned student."""
    from lmteach.weights import MINILM

    corpus = _write_corpus(home / "small", 400, 40, 12)
    run = home / "run"
    recipe = _recipe(home, corpus, MINILM if student == "minilm" else _small_bert(home / "bert"), run)
    _lmteach("fit", "--recipe", recipe, "training.epochs=1", "training.warmup_steps=2")
    return run


def _predict(home: Path, run: Path, n: int, n_words: int, kind: str) -> None:
    shards = home / f"shards-{n}"
    shards.mkdir()
    for start in range(0, n, SHARD):
        rows = list(_rows(start, min(start + SHARD, n), n_words))
        path = shards / f"part-{start // SHARD:05d}.{kind}"
        if kind == "parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist([{"id": r["id"], "text": r["text"]} for r in rows]), path)
        else:
            path.write_text("".join(json.dumps({"id": r["id"], "text": r["text"]}) + "\n" for r in rows))
    output = home / f"out-{n}"
    seconds, peak, said = _lmteach("predict", run, shards, "--output", output, "--top-k", "1")
    n_out = sum(_n_rows(path) for path in output.glob("part-*"))
    assert n_out == n, f"{n_out} of {n} rows came out"
    print(
        f"predict {n:>9,} rows, {_size(shards):,.1f} MB of {kind}: {seconds:.0f} s, peak {peak:,.0f} MB"
        f"   ({said.strip().splitlines()[-1]})",
        flush=True,
    )


def _lmteach(*arguments: object) -> tuple[float, float, str]:
    """Run a verb; return its seconds, its peak resident memory in MB, and what it said."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "lmteach.cli.main", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        text = said.read()
    if status:
        raise SystemExit(text)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return time.perf_counter() - started, used.ru_maxrss / unit, text


def _recipe(home: Path, corpus: Path, model: str | Path, run: Path) -> Path:
    path = home / f"{run.name}.yaml"
    recipe = {
        "extends": "base/classifier.yaml",
        "name": run.name,
        "corpus": {"path": str(corpus)},
        "student": {"encoder": {"model": str(model), "document_length": 64}},
        "evaluation": {"resamples": 20},
        "trainer": {"accelerator": "cpu"},
        "run": {"folder": str(run)},
    }
    path.write_text(json.dumps(recipe))
    return path


def _small_bert(folder: Path) -> Path:
    if not folder.is_dir():
        from transformers import AutoTokenizer, BertConfig, BertModel

        from lmteach.weights import MINILM, resolve

        tokenizer = AutoTokenizer.from_pretrained(resolve(MINILM))
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
        )
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def _write_corpus(folder: Path, n: int, n_test: int, n_words: int) -> Path:
    folder.mkdir()
    for split, start, end in (("train", 0, n), ("test", n, n + n_test)):
        with (folder / f"{split}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in _rows(start, end, n_words))
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in WORDS))
    return folder


def _rows(start: int, end: int, n_words: int) -> Iterator[dict[str, Any]]:
    """Yield made-up reviews, most words of which tell the class."""
    names = list(WORDS)
    for i in range(start, end):
        rng, label = random.Random(i), i % 2
        said = [rng.choice(WORDS[names[label if rng.random() < 0.8 else 1 - label]]) for _ in range(n_words)]
        yield {"id": str(i), "text": f"{' '.join(said)} {i}", "labels": [label]}


def _n_rows(path: Path) -> int:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    with path.open() as file:
        return sum(1 for _ in file)


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000], help="to predict")
    parser.add_argument("--fit", type=int, nargs="*", default=[], help="training rows to fit")
    parser.add_argument("--student", choices=("small", "minilm"), default="small")
    parser.add_argument("--words", type=int, default=8, help="of a text")
    parser.add_argument("--shards", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--folder", type=Path, help="where files lie meanwhile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
