"""The classifier student as a LightningModule: frozen features, full fine-tuning or LoRA, one class or several.

Shape legend: B texts, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor, nn

from lmteach.students.divided import Divided, divide
from lmteach.students.optim import adamw_linear
from lmteach.students.protocol import ClassLoss


class ClassBatch(NamedTuple):
    """B texts as the body wants them, the target of each class, and how much each text counts."""

    inputs: Any
    targets: Tensor
    weights: Tensor


@dataclass(frozen=True)
class ClassifierOptimizer:
    """See `lmteach.students.optim.adamw_linear`."""

    lr: float = 2e-5
    warmup_steps: int = 0
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "linear"


class ClassifierModule(lightning.LightningModule):
    """Any body that turns inputs into logits [B, C], trained by any loss over targets [B, C].

    After each validation pass `validation` holds its mean loss and accuracy.
    """

    def __init__(self, body: nn.Module, loss: ClassLoss, optimizer: ClassifierOptimizer) -> None:
        super().__init__()
        self.body, self.loss, self.optimizer = body, loss, optimizer
        self.losses: list[float] = []
        self.validation: dict[str, float] = {}
        self._sums = [0.0] * 4
        self.divided: Divided | None = None

    def configure_model(self) -> None:
        """Divide the body's weights among the ranks where the strategy says so."""
        if self.divided is None and (divided := divide(self, self.body)) is not None:
            self.divided, self.body = divided, divided.working

    def forward(self, inputs: Any) -> Tensor:
        logits_BC: Tensor = self.body(inputs)
        return logits_BC.float()

    def training_step(self, batch: ClassBatch, batch_index: int) -> Tensor:
        logits_BC = self(batch.inputs)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(logits_BC, batch.targets, batch.weights)
        self.losses.append(loss.item())
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self._sums = [0.0] * 4

    def validation_step(self, batch: ClassBatch, batch_index: int) -> None:
        logits_BC = self(batch.inputs)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(logits_BC, batch.targets, batch.weights).item()
        right_B = logits_BC.argmax(1) == batch.targets.argmax(1)
        weight = float(batch.weights.sum())
        parts = (loss * len(right_B), float(len(right_B)), float((right_B * batch.weights).sum()), weight)
        self._sums = [a + b for a, b in zip(self._sums, parts, strict=True)]

    def on_validation_epoch_end(self) -> None:
        sums = torch.tensor(self._sums, dtype=torch.float64, device=self.device)
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")  # of all ranks, so that they stop together
        loss, n, right, weight = sums.tolist()
        self.validation = {"loss": loss / max(n, 1.0), "accuracy": right / max(weight, 1e-12)}

    def configure_optimizers(self) -> Any:
        return adamw_linear(
            [p for p in self.body.parameters() if p.requires_grad],
            lr=self.optimizer.lr,
            n_steps=int(self.trainer.estimated_stepping_batches),
            warmup_steps=self.optimizer.warmup_steps,
            eps=self.optimizer.eps,
            weight_decay=self.optimizer.weight_decay,
            schedule=self.optimizer.schedule,
            fused=not self.trainer.gradient_clip_val,
        )
