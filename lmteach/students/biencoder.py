"""The bi-encoder student as a LightningModule. Shape legend: B documents, U distinct labels, D dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor

from lmteach.students.losses import triplet_loss
from lmteach.students.negatives import positive_mask
from lmteach.students.optim import adamw_linear
from lmteach.students.protocol import Encoder


class TripletBatch(NamedTuple):
    """B documents, a label drawn for each, and each document's whole yes set padded with -1.

    `labels` holds each distinct label once; `drawn_B` says which row of it belongs to which document.
    """

    documents: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    drawn_B: Tensor
    label_ids_B: Tensor
    yes_ids_BP: Tensor


@dataclass(frozen=True)
class TripletLossOptions:
    """See `lmteach.students.losses.triplet_loss`; `temperature` None = the plain form."""

    margin: float = 0.3
    n_negatives: int = 10
    temperature: float | None = 0.1


@dataclass(frozen=True)
class OptimizerOptions:
    """See `lmteach.students.optim.adamw_linear`."""

    lr: float = 2e-4
    warmup_steps: int = 100
    eps: float = 1e-6
    weight_decay: float = 0.0


class BiEncoderModule(lightning.LightningModule):
    """One encoder for documents and labels, trained by the in-batch triplet loss (LMTX, section 3)."""

    def __init__(self, encoder: Encoder, loss: TripletLossOptions, optimizer: OptimizerOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss
        self.optimizer = optimizer
        self.losses: list[float] = []

    def training_step(self, batch: TripletBatch, batch_index: int) -> Tensor:
        documents_BD = self.encoder(batch.documents)
        labels_UD = self.encoder(batch.labels)
        with torch.autocast(self.device.type, enabled=False):
            scores_BB = documents_BD.float() @ labels_UD.float()[batch.drawn_B].T
            loss = triplet_loss(
                scores_BB,
                positive_mask(batch.yes_ids_BP, batch.label_ids_B),
                margin=self.loss.margin,
                n_negatives=self.loss.n_negatives,
                temperature=self.loss.temperature,
            )
        self.losses.append(loss.item())
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return adamw_linear(
            [p for p in self.encoder.parameters() if p.requires_grad],
            lr=self.optimizer.lr,
            n_steps=int(self.trainer.estimated_stepping_batches),
            warmup_steps=self.optimizer.warmup_steps,
            eps=self.optimizer.eps,
            weight_decay=self.optimizer.weight_decay,
            fused=not self.trainer.gradient_clip_val,
        )
