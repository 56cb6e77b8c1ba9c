"""The bi-encoder's training step: masks by label id, duplicates encoded once, gradients where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lmteach import registry
from lmteach.students.biencoder import BiEncoderModule, OptimizerOptions, TripletBatch
from lmteach.students.negatives import positive_mask
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.protocol import TaggerLoss

DOCUMENTS = ["bread and butter", "the moon rose", "a ruling of the court", "salted butter"]
LABELS = ["baking", "astronomy", "law"]
DRAWN = [0, 1, 2, 0]
YES = [[0, -1], [1, 2], [2, -1], [0, -1]]


@pytest.fixture(scope="module")
def encoder(minilm1: Path) -> PooledEncoder:
    return PooledEncoder(str(minilm1), lengths={"document": 32, "search": 32, "label": 8}).eval()


def batch_of(encoder: PooledEncoder, ids: list[int]) -> TripletBatch:
    """Ids are not positions in the batch's labels, as in a label set of thousands."""
    return TripletBatch(
        documents=encoder.collate(encoder.tokenize(DOCUMENTS, "document")),
        labels=encoder.collate(encoder.tokenize(LABELS, "label")),
        drawn_B=torch.tensor(DRAWN),
        label_ids_B=torch.tensor([ids[i] for i in DRAWN]),
        yes_ids_BP=torch.tensor([[ids[i] if i >= 0 else -1 for i in row] for row in YES]),
    )


def loss_of(name: str = "weighted_triplet") -> TaggerLoss:
    loss: TaggerLoss = registry.build("loss", {"name": name})
    return loss


@pytest.mark.parametrize("name", ["triplet", "weighted_triplet"])
def test_a_step_is_the_loss_of_all_pairs(encoder: PooledEncoder, name: str, monkeypatch) -> None:
    module = BiEncoderModule(encoder, loss_of(name), OptimizerOptions())
    monkeypatch.setattr(module, "log", lambda *a, **k: None)
    batch = batch_of(encoder, [700, 41, 3])
    loss = module.training_step(batch, 0)
    documents = encoder(batch.documents)
    labels = encoder(encoder.collate(encoder.tokenize([LABELS[i] for i in DRAWN], "label")))
    mask = positive_mask(batch.yes_ids_BP, batch.label_ids_B)
    assert mask.tolist()[1] == [False, True, True, False]
    assert mask.tolist()[0] == [True, False, False, True], "the same label drawn twice is no negative"
    expected = loss_of(name)(documents @ labels.T, mask)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-4)
    assert loss > 0
    assert module.losses == [loss.item()]


def test_scores_are_taken_in_full_precision(encoder: PooledEncoder, monkeypatch) -> None:
    """Under autocast the product of two vectors would be rounded to three digits."""
    module = BiEncoderModule(encoder, loss_of(), OptimizerOptions())
    monkeypatch.setattr(module, "log", lambda *a, **k: None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module.training_step(batch_of(encoder, [0, 1, 2]), 0)
    assert loss.dtype == torch.float32


def test_steps_bring_documents_to_their_labels(minilm1: Path, monkeypatch) -> None:
    torch.manual_seed(1)
    encoder = PooledEncoder(str(minilm1), lengths={"document": 32, "search": 32, "label": 8}).eval()
    module = BiEncoderModule(encoder, loss_of(), OptimizerOptions())
    monkeypatch.setattr(module, "log", lambda *a, **k: None)
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(6):
        optimizer.zero_grad()
        module.training_step(batch_of(encoder, [0, 1, 2]), 0).backward()
        optimizer.step()
    assert module.losses[-1] < module.losses[0] / 2


def test_frozen_parts_are_left_to_themselves(encoder: PooledEncoder) -> None:
    module = BiEncoderModule(encoder, loss_of(), OptimizerOptions(lr=0.5, weight_decay=0.1))
    module._trainer = type("T", (), {"estimated_stepping_batches": 10, "gradient_clip_val": None})()
    optimizer = module.configure_optimizers()["optimizer"]
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert given == {id(p) for p in encoder.parameters() if p.requires_grad}
    assert {id(p) for p in encoder.model.pooler.parameters()}.isdisjoint(given)
    assert optimizer.defaults["weight_decay"] == 0.1
