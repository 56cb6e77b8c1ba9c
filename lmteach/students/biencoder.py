"""The bi-encoder student as a LightningModule.

Shape legend: B documents, G labels drawn for all ranks' documents, U distinct labels, T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmteach.students.losses import triplet_loss
from lmteach.students.negatives import gather_labels, positive_mask
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
    """One encoder for documents and labels, trained by the in-batch triplet loss (LMTX, section 3).

    The labels of all ranks' documents are negatives; loss and gradients of n ranks are those of one process with
    the n batches as one.

    Args:
        cached_batch: texts encoded at a time; activations are kept of no more, and made again for the backward
            pass (gradient caching, Gao et al. 2021): memory for time, the same gradient. None = all at once.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: TripletLossOptions,
        optimizer: OptimizerOptions,
        cached_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.cached_batch = cached_batch
        self.encoder = encoder
        self.loss = loss
        self.optimizer = optimizer
        self.losses: list[float] = []

    def training_step(self, batch: TripletBatch, batch_index: int) -> Tensor:
        documents_BD = self._encode(batch.documents)
        labels_UD = self._encode(batch.labels)
        with torch.autocast(self.device.type, enabled=False):
            labels = gather_labels(labels_UD.float()[batch.drawn_B], batch.label_ids_B)
            loss = triplet_loss(
                documents_BD.float() @ labels.vectors_GD.T,
                positive_mask(batch.yes_ids_BP, labels.ids_G, labels.first),
                margin=self.loss.margin,
                n_negatives=self.loss.n_negatives,
                temperature=self.loss.temperature,
                first=labels.first,
            )
            # DDP takes the mean over ranks: a rank with a shorter batch must count for less in it.
            loss = loss * (len(documents_BD) * self._n_ranks() / len(labels.ids_G))
        self.losses.append(loss.item())
        self.log("loss", loss, prog_bar=True)
        return loss

    def _n_ranks(self) -> int:
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    def _encode(self, texts: Mapping[str, Tensor]) -> Tensor:
        n = len(next(iter(texts.values())))
        if self.cached_batch is None or n <= self.cached_batch or not self.training:
            return self.encoder(texts)
        vectors = []
        for start in range(0, n, self.cached_batch):
            part = {name: values_BT[start : start + self.cached_batch] for name, values_BT in texts.items()}
            vectors.append(checkpoint(self.encoder, part, use_reentrant=False))
        return torch.cat(vectors)

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
