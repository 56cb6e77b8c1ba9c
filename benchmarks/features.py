"""Feature extraction beside sentence_transformers.encode: the same model and texts, in one process, in turns.

    python benchmarks/features.py --corpus ../shared/data/r8 --texts 300
    python benchmarks/features.py --model FOLDER --corpus python-docs

Prints a Markdown table of texts a second: the median of the rounds, by the clock and by processor time (what the
clock would say on a machine that does nothing else). Both read every text from scratch; nothing is cached.
Bars: 1.1 times in the same number format, 2.5 times with each at its defaults.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch

from lmteach.corpus.load import load_corpus
from lmteach.recipe.schema import BackboneSection, CorpusSection
from lmteach.students.backbone import Backbone
from lmteach.students.features import read_features
from lmteach.tracking.console import Console
from lmteach.weights import MINILM, resolve

MAX_TOKENS = 256


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=MINILM, help="a model folder or package:NAME/PATH")
    parser.add_argument("--corpus", default="python-docs", help="python-docs, or a folder of documents")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts = read_texts(args.corpus, args.texts)
    ways = {
        "sentence-transformers, fp32 (its default)": theirs(args.model, torch.float32),
        "sentence-transformers, bf16": theirs(args.model, torch.bfloat16),
        "lmteach, fp32": ours(args.model, "fp32"),
        "lmteach, bf16": ours(args.model, "bf16"),
    }
    if not ours_is_bf16(args.model):
        print("On this machine lmteach's default is fp32: bf16 is not fast here.")
    clock: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {name: encode(texts[:8]) for name, encode in ways.items()}  # warms up
    for _ in range(args.rounds):
        for name, encode in ways.items():
            began, spent = time.perf_counter(), time.process_time()
            vectors[name] = encode(texts)
            clock[name].append(len(texts) / (time.perf_counter() - began))
            processor[name].append(len(texts) / (time.process_time() - spent))
    show(args, clock, processor, vectors)


def read_texts(corpus: str, n: int) -> list[str]:
    """Return n training texts of a corpus, drawn by a fixed seed."""
    where = {"name": corpus} if corpus == "python-docs" else {"path": corpus}
    found = load_corpus(CorpusSection(**where, n_train=n, n_dev=0), 1, Path.cwd())  # type: ignore[arg-type]
    return found.train.texts(np.arange(len(found.train)))


def theirs(model: str, dtype: torch.dtype) -> Callable[[Sequence[str]], np.ndarray]:
    """Return sentence_transformers.encode with its default batches."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(resolve(model)), device="cpu", model_kwargs={"dtype": dtype})
    encoder.max_seq_length = MAX_TOKENS
    return lambda texts: np.asarray(encoder.encode(list(texts), show_progress_bar=False), np.float32)


def ours(model: str, precision: Any) -> Callable[[Sequence[str]], np.ndarray]:
    """Return the extraction that fills the feature store, of the last layer's mean, into memory."""
    section = BackboneSection(model=model, max_tokens=MAX_TOKENS, precision=precision, stored="fp32")
    backbone = Backbone(section, "cpu")

    def encode(texts: Sequence[str]) -> np.ndarray:
        inputs = read_features([backbone], texts, Console(quiet=True), store=None)
        vectors = inputs.collate(range(len(texts)))[backbone.name][:, 0].numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return encode


def ours_is_bf16(model: str) -> bool:
    """Whether `precision: auto` means bf16 here."""
    return Backbone(BackboneSection(model=model), "cpu").precision == "bf16"


def show(args: argparse.Namespace, clock: Any, processor: Any, vectors: Any) -> None:
    """Print the table, and the two bars."""
    names = list(clock)
    reference = vectors[names[0]] / np.linalg.norm(vectors[names[0]], axis=1, keepdims=True)
    print(f"\n{args.texts} texts of {args.corpus}, {args.threads} threads, medians of {args.rounds} rounds\n")
    print("| | texts/s | texts a processor second | least cosine to the first row |")
    print("|---|---|---|---|")
    for name in names:
        vector = vectors[name] / np.linalg.norm(vectors[name], axis=1, keepdims=True)
        rates = (statistics.median(rates[name]) for rates in (clock, processor))
        print(
            f"| {name} | {' | '.join(f'{rate:.1f}' for rate in rates)} | {(vector * reference).sum(1).min():.4f} |"
        )
    for what, rates in (("clock", clock), ("processor time", processor)):
        medians = [statistics.median(rates[name]) for name in names]
        print(
            f"\nby {what}: {medians[2] / medians[0]:.2f} times in fp32, {medians[3] / medians[1]:.2f} times in "
            f"bf16 (bar 1.1); {medians[3] / medians[0]:.2f} times with each at its defaults (bar 2.5)"
        )


if __name__ == "__main__":
    main()
