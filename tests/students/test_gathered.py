"""Two processes with a batch each are one process with both: the same loss, the same gradients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lmteach import registry
from lmteach.students.biencoder import BiEncoderModule, OptimizerOptions, TripletBatch
from lmteach.students.pooled_encoder import PooledEncoder

N = 64

CASES: dict[str, tuple[list[tuple[int, int]], float | None]] = {
    "plain": ([(0, 32), (32, 64)], None),
    "weighted": ([(0, 32), (32, 64)], 0.1),
    "uneven": ([(0, 41), (41, 64)], 0.1),
}

PROGRAM = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, {tests!r})
from test_gathered import CASES, batch_of, new_module
rank, found = int(sys.argv[1]), {{}}
dist.init_process_group("gloo", init_method="tcp://127.0.0.1:{port}", rank=rank, world_size=2)
for name, (rows, temperature) in CASES.items():
    module = new_module({weights!r}, temperature)
    loss = module.training_step(batch_of(module.encoder, *rows[rank]), 0)
    loss.backward()
    gradients = [p.grad for p in module.encoder.parameters() if p.grad is not None]
    for value in [*gradients, loss := loss.detach()]:  # as DDP does
        dist.all_reduce(value)
        value /= 2
    found[name] = {{"loss": loss, "gradients": gradients}}
if rank == 0:
    torch.save(found, {out!r})
dist.destroy_process_group()
"""


def new_module(weights: str, temperature: float | None, cached: int | None = None) -> BiEncoderModule:
    torch.manual_seed(0)
    encoder = PooledEncoder(weights, lengths={"document": 24, "search": 24, "label": 8}, dropout=0.0)
    section = (
        {"name": "triplet"}
        if temperature is None
        else {"name": "weighted_triplet", "temperature": temperature}
    )
    module = BiEncoderModule(
        encoder, registry.build("loss", section), OptimizerOptions(), cached_batch=cached
    )
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module.train()


def batch_of(encoder: PooledEncoder, first: int, last: int) -> TripletBatch:
    """Documents `first` to `last` of N, with labels that several of them share, across the halves too."""
    words = ["bread", "moon", "law", "heap", "goal", "rose", "ship", "bond", "acid", "song"]
    documents, drawn, yes = [], [], []
    for i in range(first, last):
        documents.append(
            f"document {i} on {words[i % 10]} and {words[(3 * i + 1) % 10]} " + "word " * (i % 7)
        )
        drawn.append(i % 23)
        yes.append([i % 23, (5 * i + 2) % 23])
    distinct = sorted(set(drawn))
    labels = [f"{words[i % 10]} {words[(i // 2) % 10]} number {i}" for i in distinct]
    return TripletBatch(
        encoder.collate(encoder.tokenize(documents, "document")),
        encoder.collate(encoder.tokenize(labels, "label")),
        torch.tensor([distinct.index(i) for i in drawn]),
        torch.tensor(drawn),
        torch.tensor(yes),
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def by_two_ranks(minilm1: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What two processes make of each case."""
    out = tmp_path_factory.mktemp("ranks") / "found.pt"
    program = PROGRAM.format(
        tests=str(Path(__file__).parent), port=free_port(), weights=str(minilm1), out=str(out)
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen([sys.executable, "-c", program, str(rank)], env=env) for rank in range(2)]
    assert [rank.wait(200) for rank in ranks] == [0, 0]
    found: dict[str, Any] = torch.load(out)
    return found


def by_one_process(weights: Path, temperature: float | None, cached: int | None = None) -> dict[str, Any]:
    module = new_module(str(weights), temperature, cached)
    loss = module.training_step(batch_of(module.encoder, 0, N), 0)
    loss.backward()
    gradients = [p.grad for p in module.encoder.parameters() if p.grad is not None]
    return {"loss": loss.detach(), "gradients": gradients}


def assert_close(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-5)
    assert len(a["gradients"]) == len(b["gradients"]) > 10
    for one, other in zip(a["gradients"], b["gradients"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert max(float(g.abs().max()) for g in a["gradients"]) > 1e-3, "a gradient of nothing equals any other"


@pytest.mark.parametrize("case", list(CASES))
def test_two_ranks_equal_one_process(minilm1: Path, by_two_ranks: dict[str, dict[str, Any]], case) -> None:
    """With labels masked by their ids over both halves, and batches of different size."""
    assert_close(by_two_ranks[case], by_one_process(minilm1, CASES[case][1]))


def test_labels_of_the_other_rank_count(minilm1: Path) -> None:
    """Else the test above would pass without any gathering."""
    module = new_module(str(minilm1), 0.1)
    halves = [module.training_step(batch_of(module.encoder, *rows), 0) for rows in ((0, 32), (32, 64))]
    alone = float(sum(loss.detach() for loss in halves) / 2)
    assert abs(alone - float(by_one_process(minilm1, 0.1)["loss"])) > 1e-3


@pytest.mark.parametrize("cached", [1, 5, 16, 100])
def test_gradient_caching_changes_no_gradient(minilm1: Path, cached: int) -> None:
    assert_close(by_one_process(minilm1, 0.1, cached), by_one_process(minilm1, 0.1))


def test_gradient_caching_keeps_the_activations_of_no_more_texts(minilm1: Path) -> None:
    def kept(cached: int | None) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        module = new_module(str(minilm1), 0.1, cached)
        weights = {p.untyped_storage().data_ptr() for p in module.encoder.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module.training_step(batch_of(module.encoder, 0, N), 0)
        return sum(size for place, size in sizes.items() if place not in weights)

    assert kept(8) < kept(None) / 10


def test_dropout_is_the_same_when_activations_are_made_again(minilm1: Path) -> None:
    """A second forward pass with other dropout would give a gradient of another loss: here, of a fixed one."""
    found = []
    for cached in (16, 16):
        module = new_module(str(minilm1), 0.1, cached)
        for part in module.encoder.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.3
        torch.manual_seed(1)
        loss = module.training_step(batch_of(module.encoder, 0, N), 0)
        parameter = next(p for n, p in module.encoder.named_parameters() if n.endswith("query.weight"))
        loss.backward()
        found.append((module, loss, parameter))
    (module, loss, parameter), again = found
    torch.testing.assert_close(parameter.grad, again[2].grad)
    step = 1e-2 * parameter.grad / parameter.grad.norm()
    with torch.no_grad():
        parameter += step
    torch.manual_seed(1)
    moved = module.training_step(batch_of(module.encoder, 0, N), 0)
    expected = float((parameter.grad * step).sum())
    assert float((moved - loss).detach()) == pytest.approx(expected, rel=0.25)
