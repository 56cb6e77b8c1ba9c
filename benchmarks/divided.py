"""Memory and speed of a student trained whole on every rank (DDP) and divided among them (FSDP).

    python benchmarks/divided.py                              # MiniLM's shape: 22.7M weights
    python benchmarks/divided.py --hidden 768 --layers 12     # BERT base: 109M

Random weights in that shape under MiniLM's tokenizer, two processes on the CPU that meet over gloo, a few steps of the
bi-encoder's loss in fp32. Prints what a rank holds of weights and of the optimizer's state, how far its resident
memory rose at most above what it was before the model was loaded, and seconds a step. Freed blocks go back to the
system at once (glibc's MALLOC_MMAP_THRESHOLD_), or they would count; that costs time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MB = 1e6


def main() -> None:
    """Train under both strategies, each in processes of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=30_522)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--train", nargs=2, metavar=("WEIGHTS", "STRATEGY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(Path(args.train[0]), args.train[1], args.ranks, args.steps)
        return
    with tempfile.TemporaryDirectory() as name:
        n = make_weights(Path(name), args.hidden, args.layers, args.vocabulary)
        print(f"{n / 1e6:.1f}M weights, {args.ranks} ranks, {args.steps} steps of 8 documents a rank")
        print("strategy  weights MB  state MB  peak memory MB  s a step   (each a rank's, the greatest)")
        for strategy in ("ddp", "fsdp"):
            told = run_ranks(Path(name), strategy, args.ranks, args.steps)
            worst = {key: max(rank[key] for rank in told) for key in told[0]}
            print(
                f"{strategy:<8}  {worst['weights'] / MB:10.1f}  {worst['state'] / MB:8.1f}  "
                f"{worst['peak'] / MB:14.0f}  {worst['step']:8.2f}"
            )


def make_weights(folder: Path, hidden: int, layers: int, vocabulary: int) -> int:
    """Save a random BERT with MiniLM's tokenizer; return its number of weights."""
    import torch
    import transformers

    from lmteach.weights import MINILM, resolve

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden,
    )
    model = transformers.BertModel(config)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(resolve(MINILM)).save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def run_ranks(weights: Path, strategy: str, n: int, steps: int) -> list[dict[str, float]]:
    """Train in n processes; return what each measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        __file__,
        f"--ranks={n}",
        f"--steps={steps}",
        "--train",
        str(weights),
        strategy,
    ]
    common = {**os.environ, "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common["MALLOC_MMAP_THRESHOLD_"] = "262144"
    ranks = [
        subprocess.Popen(
            command, env={**common, "RANK": str(r), "LOCAL_RANK": str(r)}, stdout=subprocess.PIPE, text=True
        )
        for r in range(n)
    ]
    said = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        sys.exit(f"{strategy}: a rank failed")
    return [json.loads(text.splitlines()[-1]) for text in said]


def train(weights: Path, strategy: str, n: int, steps: int) -> None:
    """Be one rank; print what it measured."""
    from lmteach.curriculum.datamodule import PseudoLabels
    from lmteach.curriculum.joining import find_place, joined_ranks
    from lmteach.curriculum.training import train_student
    from lmteach.recipe.load import load_recipe
    from lmteach.students.pooled_encoder import PooledEncoder
    from lmteach.tracking.console import Console

    trainer = f"trainer={{accelerator: cpu, devices: {n}, strategy: {strategy}}}"
    settings = [
        "training.batch_size=8",
        "training.epochs=1",
        "training.precision=fp32",
        "training.warmup_steps=1",
    ]
    recipe = load_recipe("base/lmtx.yaml", ["corpus.name=none", trainer, *settings]).recipe
    texts = [f"document {i} on {'this and that ' * 10}" for i in range(8 * n * steps)]
    made = PseudoLabels(
        texts, [np.array([i % 50]) for i in range(len(texts))], [f"label {i}" for i in range(50)]
    )
    place = find_place(recipe.trainer)
    assert place is not None
    with joined_ranks(place, recipe.trainer) as ranks:
        for module in ("torch.distributed.fsdp", "transformers.models.bert.modeling_bert"):
            importlib.import_module(module)  # or their imports would count
        before = resident()
        encoder: Any = PooledEncoder(str(weights), lengths={"document": 64, "search": 64, "label": 8})
        started = time.perf_counter()
        told = train_student(encoder, lambda: made, recipe, Console(quiet=True), 1, ranks=ranks)
        seconds = time.perf_counter() - started
    sizes = [(p.numel() * 4, p.requires_grad) for p in encoder.parameters()]
    whole = {"weights": sum(size for size, _ in sizes), "state": sum(2 * size for size, on in sizes if on)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    print(
        json.dumps(
            {
                "weights": told.get("rank_weight_bytes", whole["weights"]),
                "state": told.get("rank_state_bytes", whole["state"]),
                "peak": peak,
                "step": seconds / told["steps"],
            }
        )
    )


def resident() -> int:
    """Return this process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
