"""Tagging side by side: lmteach's tagger, and sentence_transformers.encode with a faiss flat index, on one machine.

Documents are the docstrings of installed packages (real); label vectors are random directions (synthetic), since
only their number matters for speed. Both sides cut texts at the same length, use the same weights, run with the
same number of threads, and return the names of the top 5 labels. Rounds alternate between the sides, and the best
round of each counts, so that other work on the machine hits both alike.

    python benchmarks/predict.py
    python benchmarks/predict.py --documents 2000 --labels 3956 100000 --length 128
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lmteach import registry
from lmteach.corpus.load import load_corpus
from lmteach.machine import has_fast_bf16
from lmteach.recipe.schema import CorpusSection
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.tagger import Tagger
from lmteach.weights import MINILM, resolve

BAR = 1.3
K = 5
Tag = Callable[[list[str]], list[list[str]]]


def main() -> None:
    args = _arguments()
    texts = _documents(args.documents)
    weights = str(resolve(MINILM))
    lengths = {"document": args.length, "search": args.length, "label": 16}
    encoder = PooledEncoder(weights, lengths=lengths)
    n_tokens = sum(map(len, encoder.tokenize(texts, "search")))
    print(
        f"{len(texts):,} docstrings, {n_tokens / len(texts):.0f} tokens each after the cut at {args.length}; "
        f"MiniLM, {torch.get_num_threads()} thread(s), fast bf16 here: {has_fast_bf16('cpu')}"
    )
    worst = np.inf
    for n_labels in args.labels:
        names = [f"label {i}" for i in range(n_labels)]
        vectors = _directions(n_labels, encoder.dim)
        sides = _sides(weights, encoder, args.length, names, vectors)
        seconds, answers = _race(sides, texts, args.rounds)
        print(f"\n{n_labels:,} labels (random directions)")
        plain = seconds["sentence-transformers fp32 + faiss flat"]
        for name, took in seconds.items():
            same = np.mean(
                [a[0] == b[0] for a, b in zip(answers[name], next(iter(answers.values())), strict=True)]
            )
            print(
                f"  {name:<42} {len(texts) / took:8.1f} docs/s   x {plain / took:.2f}   same first label {same:.1%}"
            )
        ratio = plain / seconds["lmteach"]
        worst = min(worst, ratio)
        print(f"  ratio lmteach / plain: {ratio:.2f} (bar {BAR})")
    print(f"\nleast ratio {worst:.2f}: the bar of {BAR} is {'met' if worst >= BAR else 'not met'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--labels", type=int, nargs="+", default=[3956, 13_330, 100_000])
    parser.add_argument("--length", type=int, default=128, help="tokens at which texts are cut")
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def _documents(n: int) -> list[str]:
    from pathlib import Path

    corpus = load_corpus(CorpusSection(name="python-docs", n_train=n, n_dev=1), 1, Path.cwd())
    return corpus.train.texts(np.arange(len(corpus.train)))


def _directions(n: int, dim: int) -> Any:
    vectors = np.random.default_rng(1).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _sides(
    weights: str, encoder: PooledEncoder, length: int, names: list[str], vectors: Any
) -> dict[str, Tag]:
    searcher = registry.build("searcher", {"name": "exact"})
    searcher.build(vectors)
    precision = "bf16" if has_fast_bf16("cpu") else "fp32"
    tagger = Tagger(encoder, names, searcher, device="cpu", precision=precision)
    return {
        "sentence-transformers fp32 + faiss flat": _plain(weights, length, names, vectors, torch.float32),
        "sentence-transformers bf16 + faiss flat": _plain(weights, length, names, vectors, torch.bfloat16),
        "lmteach": lambda texts: [list(tags.labels) for tags in tagger.predict(texts, K)],
    }


def _plain(weights: str, length: int, names: list[str], vectors: Any, dtype: torch.dtype) -> Tag:
    import faiss
    from sentence_transformers import SentenceTransformer

    faiss.omp_set_num_threads(torch.get_num_threads())
    model = SentenceTransformer(weights, device="cpu", model_kwargs={"dtype": dtype})
    model.max_seq_length = length
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def tag(texts: list[str]) -> list[list[str]]:
        found = model.encode(texts, normalize_embeddings=True, convert_to_tensor=True).float().numpy()
        _, ids = index.search(found, K)
        return [[names[i] for i in row] for row in ids.tolist()]

    return tag


def _race(
    sides: dict[str, Tag], texts: list[str], rounds: int
) -> tuple[dict[str, float], dict[str, list[list[str]]]]:
    best: dict[str, float] = {}
    answers = {name: tag(texts[:64]) for name, tag in sides.items()}  # warm
    for _ in range(rounds):
        for name, tag in sides.items():
            start = time.perf_counter()
            answers[name] = tag(texts)
            best[name] = min(best.get(name, np.inf), time.perf_counter() - start)
    return best, answers


if __name__ == "__main__":
    main()
