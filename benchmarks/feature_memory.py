"""Memory of training on a feature store far larger than memory should have to be.

    python benchmarks/feature_memory.py                        # LLMEmbed's shape: 100,000 texts, 5 x 4096, fp16
    python benchmarks/feature_memory.py --texts 20000

Fills a store with made-up vectors (4.1 GB on disk for the full shape), trains a head on it for an epoch in a
process of its own, and prints how far resident memory rose above what it was before the store was opened. The head
is linear, so that reading is what takes the time; --head paper trains LLMEmbed's own, of 25M parameters. Bar: 4 GiB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BLOCK = 2_000


def main() -> None:
    """Fill, then train in a fresh process, whose peak tells."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--head", choices=("linear", "paper"), default="linear")
    parser.add_argument("--folder", type=Path, help="where to put the store (a temporary folder)")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.folder, args.layers, args.dim, args.head)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        fill(Path(name), args.texts, args.layers, args.dim)
        shape = [f"--{key}={getattr(args, key)}" for key in ("texts", "layers", "dim", "head")]
        subprocess.run([sys.executable, __file__, "--train", f"--folder={name}", *shape], check=True)


def fill(store: Path, n: int, n_layers: int, dim: int) -> None:
    """Append made-up vectors."""
    from lmteach.students.feature_store import FeatureColumn
    from lmteach.students.hash_rows import Hashes

    began = time.perf_counter()
    block = np.random.default_rng(0).normal(size=(BLOCK, dim)).astype(np.float32)
    for layer in range(n_layers):
        column = FeatureColumn(store / str(layer), dim, "fp16")
        for start in range(0, n, BLOCK):
            hashes = Hashes.of(map(str, range(start, min(start + BLOCK, n))))
            column.append(hashes, np.roll(block, start + layer, axis=1)[: len(hashes)])
    size = sum(file.stat().st_size for file in store.rglob("vectors.bin"))
    print(
        f"filled: {n:,} texts, {n_layers} x {dim}, {size / 2**30:.2f} GiB in {time.perf_counter() - began:.0f} s"
    )


def train(store: Path, n_layers: int, dim: int, kind: str) -> None:
    """Train for one epoch; print seconds and memory."""
    from lmteach import registry
    from lmteach.curriculum.class_training import ClassExamples, train_classifier
    from lmteach.recipe.schema import FusionSection, Recipe
    from lmteach.students.feature_store import FeatureColumn
    from lmteach.students.features import FeatureInputs, Located
    from lmteach.students.frozen import FusedBody
    from lmteach.students.fusions import build_fusion
    from lmteach.tracking.console import Console

    shapes = {"llama": (n_layers, dim)}
    paper = kind == "paper"
    section = FusionSection(name="cooccurrence", width=1024, dropout=0.5) if paper else FusionSection()
    fusion = build_fusion(section, shapes)
    head = registry.build("head", {"name": "mlp" if paper else "linear"}).module(fusion.out_dim, 2)
    body = FusedBody(fusion, head, shapes, normalise="standard")
    recipe = Recipe(name="memory")
    recipe.student.kind, recipe.trainer.accelerator = "classifier", "cpu"
    recipe.training.epochs, recipe.training.batch_size, recipe.training.precision = 1, 1024, "fp32"

    class Student:
        def __init__(self) -> None:
            self.body = body

    before = peak()
    columns = [FeatureColumn(store / str(layer), dim, "fp16") for layer in range(n_layers)]
    n = len(columns[0])
    inputs = FeatureInputs({"llama": Located(columns, [np.arange(n)] * n_layers)}, n)
    began = time.perf_counter()
    body.set_statistics(inputs, n)
    looked = time.perf_counter() - began
    targets = np.eye(2, dtype=np.float32)[np.random.default_rng(1).integers(0, 2, n)]
    examples = ClassExamples(inputs, targets, np.ones(n, np.float32))
    measured = train_classifier(Student(), examples, None, recipe, Console(quiet=True), 1)  # type: ignore[arg-type]
    print(
        f"trained: statistics in {looked:.0f} s, an epoch of {measured['steps']:.0f} steps in "
        f"{measured['train_seconds']:.0f} s; resident memory rose from {before:.2f} to {peak():.2f} GiB"
    )


def peak() -> float:
    """Return the greatest resident memory so far, in GiB; mapped pages of files count."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
