"""What a GPU makes of teacher and student, in one run of minutes, without any download: ratios, and shares of the card.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --small     # only to see that this script runs

Weights are random: speed does not depend on them. First the card's own rates are measured: a bf16 matrix product and
a copy. Then encoding and training steps of a BERT-base bi-encoder with the triplet loss, in fp32 and bf16, with and
without torch.compile; the share is the arithmetic of the linear layers (two operations a weight and token, three
times that for a training step) over the card's matmul rate. At last `benchmarks/teacher.py` measures the teacher
beside generate() and batched forward passes of transformers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmteach import registry
from lmteach.students.negatives import positive_mask


def main() -> int:
    arguments = _arguments()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here, so nothing was measured.")
        return 0
    device, small = arguments.device, arguments.small
    matmul = _matmul_rate(device, 256 if small else 8192)
    print(
        f"{_name(device)}: matmul bf16 {matmul / 1e12:.2f} TFLOP/s, copy {_copy_rate(device, small) / 1e9:.0f} GB/s"
    )
    found: dict[tuple[str, str, bool], float] = {}
    for compiled in (False,) if small else (False, True):
        for precision in ("fp32", "bf16"):
            encoder = _Encoder(small).to(device)
            operations = 2 * encoder.n_linear * arguments.tokens
            run: Any = torch.compile(encoder, dynamic=True) if compiled else encoder
            for task, factor in (("encode", 1), ("train", 3)):
                rate = _measure(task, run, encoder, precision, arguments)
                found[task, precision, compiled] = rate
                share = rate * factor * operations / matmul
                how = f"{precision}{', compiled' if compiled else ''}"
                print(
                    f"  {task:7}{how:16}{rate:12,.1f} texts/s   {share:6.1%} of the matmul rate", flush=True
                )
    for (task, precision, compiled), rate in found.items():
        if (precision, compiled) != ("fp32", False):
            how = f"{precision}{', compiled' if compiled else ''}"
            print(f"  {task}: {how} is {rate / found[task, 'fp32', False]:.2f} times fp32", flush=True)
    if small:
        return 0
    teacher = [sys.executable, str(Path(__file__).with_name("teacher.py")), "--device", device]
    return subprocess.run([*teacher, "--random-weights", "smollm2-135m", "--documents", "256"]).returncode


class _Encoder(nn.Module):
    """BERT-base with random weights and mean pooling."""

    def __init__(self, small: bool) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        sizes = {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
        }
        self.model = BertModel(BertConfig(**(sizes if small else {})), add_pooling_layer=False)
        layers = [m for m in self.model.encoder.modules() if isinstance(m, nn.Linear)]
        self.n_linear = sum(layer.weight.numel() for layer in layers)

    def forward(self, ids_BT: Tensor) -> Tensor:
        hidden_BTD = self.model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).last_hidden_state
        return nn.functional.normalize(hidden_BTD.float().mean(1), dim=-1)


def _measure(task: str, run: Any, encoder: _Encoder, precision: str, arguments: argparse.Namespace) -> float:
    """Return documents a second; a training step's labels, a tenth as long, are not counted."""
    device, n = arguments.device, arguments.batch
    documents = torch.randint(5, 20_000, (n, arguments.tokens), device=device)
    labels = torch.randint(5, 20_000, (n, max(4, arguments.tokens // 10)), device=device)
    ids_B = torch.arange(n, device=device)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-6, fused=True)
    triplet_loss = registry.build("loss", {"name": "weighted_triplet"})

    def autocast() -> Any:
        return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")

    def encode() -> None:
        with torch.no_grad(), autocast():
            run(documents)

    def train() -> None:
        with autocast():
            documents_BD, labels_BD = run(documents), run(labels)
        loss = triplet_loss(documents_BD @ labels_BD.T, positive_mask(ids_B.unsqueeze(1), ids_B))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    encoder.train(task == "train")
    return n / _seconds(encode if task == "encode" else train, device, arguments.seconds)


def _seconds(do: Callable[[], object], device: str, at_least: float) -> float:
    """Return the mean time of a call, warm."""
    for _ in range(3):
        do()
    _wait(device)
    started, n = time.perf_counter(), 0
    while n < 3 or time.perf_counter() - started < at_least:
        do()
        n += 1
        if n % 5 == 0:
            _wait(device)
    _wait(device)
    return (time.perf_counter() - started) / n


def _matmul_rate(device: str, n: int) -> float:
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / _seconds(lambda: a @ b, device, 1.0)


def _copy_rate(device: str, small: bool) -> float:
    source = torch.empty((1 << 22) if small else (1 << 30), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _seconds(lambda: target.copy_(source), device, 0.5)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny model, no teacher, nothing compiled")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256, help="of a document")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
