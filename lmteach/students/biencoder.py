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

from lmteach.students.divided import Divided, divide, most
from lmteach.students.negatives import gather_labels, positive_mask
from lmteach.students.optim import adamw_linear
from lmteach.students.protocol import Encoder, TaggerLoss


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
class OptimizerOptions:
    """See `lmteach.students.optim.adamw_linear`."""

    lr: float = 2e-4
    warmup_steps: int = 100
    eps: float = 1e-6
    weight_decay: float = 0.0


class BiEncoderModule(lightning.LightningModule):
    """One encoder for documents and labels, trained by a loss over in-batch cosines (LMTX, section 3).

    The labels of all ranks' documents are negatives; loss and gradients of n ranks are those of one process with
    the n batches as one.

    Args:
        cached_batch: texts encoded at a time; activations are kept of no more, and made again for the backward
            pass (gradient caching, Gao et al. 2021): memory for time, the same gradient. None = all at once.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: TaggerLoss,
        optimizer: OptimizerOptions,
        cached_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.cached_batch = cached_batch
        self.encoder = encoder
        self.loss = loss
        self.optimizer = optimizer
        self.losses: list[float] = []
        self.divided: Divided | None = None

    def configure_model(self) -> None:
        """Divide the encoder's weights among the ranks where the strategy says so."""
        if self.divided is None and (divided := divide(self, self.encoder)) is not None:  # type: ignore[arg-type]
            self.divided, self.encoder = divided, divided.working  # type: ignore[assignment]

    def training_step(self, batch: TripletBatch, batch_index: int) -> Tensor:
        documents_BD = self._encode(batch.documents)
        labels_UD = self._encode(batch.labels)
        with torch.autocast(self.device.type, enabled=False):
            labels = gather_labels(labels_UD.float()[batch.drawn_B], batch.label_ids_B)
            loss = self.loss(
                documents_BD.float() @ labels.vectors_GD.T,
                positive_mask(batch.yes_ids_BP, labels.ids_G, labels.first),
                labels.first,
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
        if self.cached_batch is None or not self.training:
            return self.encoder(texts)
        n_parts = -(-n // self.cached_batch)
        if self.divided is not None:  # each pass gathers weights from all ranks, so all must make as many
            n_parts = most(n_parts, self.device)
        if n_parts == 1:
            return self.encoder(texts)
        vectors = []
        for start in range(0, n_parts * self.cached_batch, self.cached_batch):
            rows = slice(start, start + self.cached_batch) if start < n else slice(1)
            part = {name: values_BT[rows] for name, values_BT in texts.items()}
            vectors.append(checkpoint(self.encoder, part, use_reentrant=False))
        vectors_ED = torch.cat(vectors)
        if len(vectors_ED) == n:
            return vectors_ED
        return vectors_ED[:n] + 0.0 * vectors_ED[n:].sum()  # so that the surplus has a backward pass too

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
