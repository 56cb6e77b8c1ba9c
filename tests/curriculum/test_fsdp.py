"""Two processes that divide a student's weights train what two that each have all of them train."""

from __future__ import annotations

import copy
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lmteach.curriculum.class_training import ClassExamples, train_classifier
from lmteach.curriculum.datamodule import PseudoLabels
from lmteach.curriculum.joining import find_place, joined_ranks
from lmteach.curriculum.ranks import Ranks
from lmteach.curriculum.training import strategy_of, train_student
from lmteach.errors import RecipeError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import TrainerSection
from lmteach.students.class_student import ClassCard
from lmteach.students.divided import Divided, repeated_layers
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.tuned import TunedStudent
from lmteach.tracking.console import Console

WORDS = ["bread", "moon", "law", "heap", "goal", "rose", "ship", "bond", "acid", "song"]
COMMON = ["training.batch_size=6", "training.lr=1e-2", "training.eps=1e-3", "training.warmup_steps=1"]
TAGGERS = {
    "plain": [],
    "clipped and summed": ["training.gradient_clip=0.05", "training.accumulate=2"],
    "cached": ["training.cached_batch=2"],
    "bf16": ["training.precision=bf16"],
}
CLASSIFIERS = {
    "full": [],
    "lora": ["student.tuning=lora", "student.lora={rank: 4, targets: [query, value]}"],
}
LAYERS = 3


def train_all(weights: str, out: Path, cases: dict[str, list[str]]) -> None:
    """Be one of the ranks: train cases under both strategies; keep what came out."""
    found: dict[Any, Any] = {}
    n = int(os.environ["WORLD_SIZE"])
    trainer = TrainerSection(accelerator="cpu", devices=n, timeout=60)
    place = find_place(trainer)
    assert place is not None
    with joined_ranks(place, trainer) as ranks:
        for strategy in ("ddp", "fsdp"):
            for case, overrides in cases.items():
                keys = [f"trainer={{accelerator: cpu, devices: {n}, strategy: {strategy}}}"]
                train = train_tagger if case in TAGGERS else train_class
                found[strategy, case] = train(
                    weights, [*COMMON, "training.precision=fp32", *keys, *overrides], out, ranks
                )
    torch.save(found, out / f"{place.rank}.pt")


def train_tagger(weights: str, overrides: list[str], out: Path, ranks: Ranks) -> dict[str, Any]:
    recipe = load_recipe("base/lmtx.yaml", ["corpus.name=x", "training.epochs=2", *overrides]).recipe
    encoder = PooledEncoder(weights, lengths={"document": 24, "search": 24, "label": 8}, dropout=0.0)
    n = 41
    start = whole(encoder)
    texts = [f"{WORDS[i % 10]} and {WORDS[(3 * i + 1) % 10]} " + "word " * (i % 7) for i in range(n)]
    yes = [np.array([i % 13, (5 * i + 2) % 13]) for i in range(n)]
    made = PseudoLabels(texts, yes, [f"{WORDS[i % 10]} number {i}" for i in range(13)])
    measured = train_student(encoder, lambda: made, recipe, QUIET, 5, ranks=ranks)
    return {**measured, "start": start, "weights": whole(encoder), "modules": parts(encoder)}


def train_class(weights: str, overrides: list[str], out: Path, ranks: Ranks) -> dict[str, Any]:
    keys = ["corpus.name=x", "training.epochs=3", "training.validation=0.2", *overrides]
    recipe = load_recipe("base/llambert.yaml", keys).recipe
    torch.manual_seed(1)
    card = ClassCard(("no", "yes"), False, recipe.student.tuning, 24)
    lora = recipe.student.lora if recipe.student.tuning == "lora" else None
    if lora is not None:
        lora.dropout = 0.0
    student = TunedStudent(Path(weights), card, lora=lora, dropout=0.0)
    start = whole(student.body)
    texts = [f"{WORDS[i % 10]} and {WORDS[(3 * i + 1) % 10]} " + "word " * (i % 7) for i in range(50)]
    inputs = student.read(texts, QUIET)
    targets = np.eye(2, dtype=np.float32)[[int(i % 10 < 5) for i in range(50)]]
    learned = ClassExamples(inputs, targets[:40], np.ones(40, np.float32))
    chosen_by = ClassExamples(inputs, targets[40:], np.ones(10, np.float32), start=40)
    measured = train_classifier(student, learned, chosen_by, recipe, QUIET, 5, ranks)
    if ranks.is_first:
        student.save(out / f"saved {recipe.trainer.strategy} {recipe.student.tuning}")
    return {**measured, "start": start, "weights": whole(student.body), "modules": parts(student.body)}


def whole(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def parts(module: nn.Module) -> set[str]:
    return {type(part).__name__ for part in module.modules()}


QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def tiny(minilm1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in three layers, under MiniLM's tokenizer."""
    import transformers

    folder = tmp_path_factory.mktemp("weights") / "tiny"
    shutil.copytree(minilm1, folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=6000,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.1,
        pad_token_id=0,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def run_ranks(n: int, weights: Path, out: Path, cases: dict[str, list[str]]) -> list[Any]:
    """Train cases on n ranks; return what each trained."""
    program = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_fsdp import train_all; train_all({str(weights)!r}, Path({str(out)!r}), {cases!r})"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(n)
    ]
    assert [rank.wait(300) for rank in ranks] == [0] * n
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(n)]


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    """What each of two ranks trained, and the folder of what the first saved."""
    out = tmp_path_factory.mktemp("ranks")
    return run_ranks(2, tiny, out, TAGGERS | CLASSIFIERS), out


@pytest.mark.slow
def test_weights_that_cannot_be_divided_evenly(tiny: Path, tmp_path: Path) -> None:
    """Three ranks: two classes leave one without a row of the head, 32 rows leave one with fewer than the others."""
    ranks = run_ranks(3, tiny, tmp_path, {"full": ["training.gradient_clip=0.05"]})
    ddp, fsdp = ranks[0]["ddp", "full"], ranks[0]["fsdp", "full"]
    for name, value in ddp["weights"].items():
        torch.testing.assert_close(fsdp["weights"][name], value, atol=1e-5, rtol=0)
    held = [rank["fsdp", "full"]["rank_weight_bytes"] for rank in ranks]
    assert sum(held) == sum(
        4 * value.numel() for value in ddp["weights"].values() if value.is_floating_point()
    )
    assert held[2] < held[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", [*TAGGERS, *CLASSIFIERS])
def test_fsdp_trains_what_ddp_trains(trained, case: str) -> None:
    """bf16: layer norms and embeddings round their weights too, which autocast alone does not."""
    (first, second), _ = trained
    ddp, fsdp = first["ddp", case], first["fsdp", case]
    assert ddp["steps"] == fsdp["steps"] > 2
    assert max(float((v - fsdp["start"][n]).abs().max()) for n, v in fsdp["weights"].items()) > 1e-3
    tolerance = 5e-2 if case == "bf16" else 1e-5
    assert fsdp["loss"] == pytest.approx(ddp["loss"], abs=tolerance)
    assert ddp["weights"].keys() == fsdp["weights"].keys()
    for name, value in ddp["weights"].items():
        torch.testing.assert_close(fsdp["weights"][name], value, atol=tolerance, rtol=0)
        torch.testing.assert_close(
            second["fsdp", case]["weights"][name], fsdp["weights"][name], atol=0, rtol=0
        )
    if case != "plain" and case in TAGGERS and case != "cached":
        plain = first["fsdp", "plain"]["weights"]
        assert max(float((fsdp["weights"][n] - plain[n]).abs().max()) for n in plain) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("case", [*TAGGERS, *CLASSIFIERS])
def test_each_rank_holds_half(trained, case: str) -> None:
    ranks, _ = trained
    weights = ranks[0]["fsdp", case]["weights"]
    all_bytes = sum(v.numel() * 4 for v in weights.values() if v.is_floating_point())
    for rank in ranks:
        measured = rank["fsdp", case]
        assert measured["rank_weight_bytes"] == pytest.approx(all_bytes / 2, rel=0.02)
        if case in TAGGERS:  # two moments of each weight but the unused pooler's
            assert measured["rank_state_bytes"] == pytest.approx(all_bytes, rel=0.05)
        assert "rank_weight_bytes" not in rank["ddp", case]
    full, lora = (ranks[0]["fsdp", case]["rank_state_bytes"] for case in ("full", "lora"))
    assert 0 < lora < full / 20


@pytest.mark.slow
def test_what_is_left_is_an_ordinary_module(trained) -> None:
    (first, second), _ = trained
    for found in (first, second):
        for case in (*TAGGERS, *CLASSIFIERS):
            assert found["fsdp", case]["modules"] == found["ddp", case]["modules"]


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_saved_student_is_whole(trained, tuning: str) -> None:
    """It loads in this process, which knows of no other, and says what DDP's says."""
    _, out = trained
    students = [
        TunedStudent(out / f"saved {strategy} {tuning}", ClassCard.load(out / f"saved {strategy} {tuning}"))
        for strategy in ("ddp", "fsdp")
    ]
    texts = ["bread and moon", "a rose for the ship", "law law law"]
    logits = []
    for student in students:
        student.body.eval()
        with torch.no_grad():
            logits.append(student.body(student.read(texts, QUIET).collate([0, 1, 2])))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)
    assert float(logits[0].std()) > 1e-2


@pytest.mark.parametrize(
    ("architecture", "n"),
    [
        ("BertModel", 2),
        ("RobertaModel", 2),
        ("MPNetModel", 2),
        ("DistilBertModel", 2),
        ("ModernBertModel", 2),
        ("LlamaModel", 2),
        ("T5EncoderModel", 2),
        ("DebertaV2Model", 2),
    ],
)
def test_the_repeated_layers_of_a_transformer_are_found(architecture: str, n: int) -> None:
    import transformers

    sizes = {"num_hidden_layers": n, "num_layers": n, "n_layers": n, "vocab_size": 50, "pad_token_id": 0}
    kind = getattr(transformers, architecture)
    with torch.device("meta"):
        model = kind(kind.config_class(**sizes))
    found = repeated_layers(model)
    assert len(found) == n
    assert len({type(layer) for layer in found}) == 1
    n_within = sum(p.numel() for layer in found for p in layer.parameters())
    assert n_within > sum(p.numel() for p in model.parameters()) * 0.8


@pytest.fixture
def mesh() -> Iterator[Any]:
    """A mesh of this process alone."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("bf16", [True, False])
def test_bf16_weights_are_not_kept_for_the_backward_pass(mesh: Any, minilm1: Path, bf16: bool) -> None:
    """Weights that autocast itself casts are: a whole bf16 copy on every rank."""
    encoder = PooledEncoder(str(minilm1), lengths={"document": 8, "search": 8, "label": 8}, dropout=0.0)
    layer = encoder.model.encoder.layer
    copied = 2 * sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    batch = encoder.collate(encoder.tokenize(["a text"], "document"))
    divided = Divided(encoder, mesh, bf16=bf16)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        loss = divided.working(batch).sum()
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    assert (sum(storages.values()) > copied) is not bf16
    assert copied > 1_000_000
    loss.backward()


def test_one_process_divides_nothing() -> None:
    assert strategy_of(TrainerSection(accelerator="cpu", strategy="fsdp")) == "auto"


def test_a_single_number_cannot_be_divided() -> None:
    module = nn.Linear(2, 2)
    module.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(RecipeError, match="'scale' is a single number"):
        Divided(module, None)


class Tied(nn.Module):
    """Words in and out by one table, with two layers between; a weight that is kept elsewhere, too."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.out = nn.Linear(4, 7)
        self.out.weight = self.words.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.kept = [self.layers[0].weight]

    def forward(self, ids_B: torch.Tensor) -> torch.Tensor:
        hidden_BD = self.words(ids_B)
        for layer in self.layers:
            hidden_BD = self.norm(layer(hidden_BD)).tanh()
        return self.out(self.frozen(hidden_BD))


def train(module: nn.Module) -> None:
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1, fused=True)
    for step in range(3):
        ids_B = torch.arange(5) + step % 2
        nn.functional.cross_entropy(module(ids_B), (ids_B + 1) % 7).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_divided_module_is_whole_again_afterwards(mesh: Any) -> None:
    torch.manual_seed(0)
    ordinary, module = Tied(), Tied()
    module.load_state_dict(ordinary.state_dict())
    before = dict(module.named_parameters())
    divided = Divided(module, mesh)
    assert {p.device.type for p in module.parameters()} == {"meta"}, "nothing is held twice"
    assert not any(p.numel() for p in before.values())
    train(ordinary)
    train(divided.working)
    divided.restore()
    assert dict(module.named_parameters()) == before, "the same objects"
    assert module.kept[0] is module.layers[0].weight
    assert module.out.weight is module.words.weight
    for (name, value), other in zip(module.state_dict().items(), ordinary.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, atol=1e-6, rtol=1e-6, msg=name)
    assert [p.requires_grad for p in module.parameters()] == [p.requires_grad for p in ordinary.parameters()]
    assert float(module.norm.running_mean.abs().max()) > 0
    torch.testing.assert_close(module.eval()(torch.arange(7)), ordinary.eval()(torch.arange(7)))
    train(module)
    assert type(copy.deepcopy(module)) is Tied
