"""One classifier trained on one stage's labelled texts: one `Trainer.fit`, the best epoch's weights kept."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from lmteach.curriculum.datamodule import LengthSortedBatches, Positions
from lmteach.curriculum.ranks import SOLO, Ranks
from lmteach.curriculum.training import (
    RANK_STRIDE,
    TrainingProgress,
    interruptible,
    make_whole,
    quiet_trainer,
)
from lmteach.recipe.loss import build_loss
from lmteach.recipe.schema import Recipe
from lmteach.students.class_student import ClassifierStudent, Inputs
from lmteach.students.classifier import ClassBatch, ClassifierModule, ClassifierOptimizer
from lmteach.teaching.energy import EnergyMeter
from lmteach.tracking.console import Console

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassExamples:
    """n texts as the body takes them, from `start` on among `inputs`, with targets [n, C] and weights [n]."""

    inputs: Inputs
    targets_nC: Floats
    weights_n: Floats
    start: int = 0

    @property
    def lengths_n(self) -> npt.NDArray[np.int64]:
        """How long each is."""
        return self.inputs.lengths_n[self.start : self.start + len(self.targets_nC)]

    def batch(self, positions: list[int]) -> ClassBatch:
        """Return some of them, by position among the n."""
        return ClassBatch(
            inputs=self.inputs.collate([self.start + i for i in positions]),
            targets=torch.from_numpy(self.targets_nC[positions]),
            weights=torch.from_numpy(self.weights_n[positions]),
        )


class ClassDataModule(lightning.LightningDataModule):
    """Random batches of texts of like length; which, is a function of seed and epoch."""

    def __init__(
        self,
        train: ClassExamples,
        validation: ClassExamples | None,
        *,
        batch_size: int,
        seed: int,
        drop_last: bool,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.batch_size, self.seed, self.drop_last = batch_size, seed, drop_last

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        return self._loader(
            self.train, drop_last=self.drop_last, epoch=lambda: trainer.current_epoch if trainer else 0
        )

    def val_dataloader(self) -> Sequence[DataLoader[Any]]:
        if self.validation is None:
            return []
        return [self._loader(self.validation, drop_last=False, epoch=lambda: 0)]

    def _loader(
        self, examples: ClassExamples, *, drop_last: bool, epoch: Callable[[], int]
    ) -> DataLoader[Any]:
        lengths = examples.lengths_n
        sampler = LengthSortedBatches(
            lengths,
            batch_size=self.batch_size,
            seed=self.seed,
            drop_last=drop_last,
            epoch=epoch,
            rank=self.trainer.global_rank if self.trainer else 0,
            n_ranks=self.trainer.world_size if self.trainer else 1,
        )
        return DataLoader(Positions(len(lengths)), batch_sampler=sampler, collate_fn=examples.batch)


def train_classifier(
    student: ClassifierStudent,
    train: ClassExamples,
    validation: ClassExamples | None,
    recipe: Recipe,
    console: Console,
    seed: int,
    ranks: Ranks = SOLO,
    loggers: Sequence[Any] = (),
) -> dict[str, float]:
    """Train a student's body in place; with validation texts, it ends with its best epoch's weights.

    Args:
        loggers: Lightning's, of the training loss.

    Returns:
        `steps`, `epochs`, mean `loss` of the last tenth of the steps, `parameters` that were trained,
        `train_seconds`; with validation texts also `best_epoch` (from 0), `validation_loss` and
        `validation_accuracy` of it; `peak_gib`, the process's greatest resident memory so far; and `joules`,
        where the machine can be read. Under FSDP also what this rank held of weights and optimizer state, in bytes.
    """
    lightning.seed_everything(seed, workers=True, verbose=False)
    settings, started, meter = recipe.training, time.monotonic(), EnergyMeter.find()
    module = _module_of(student, recipe)
    data = ClassDataModule(
        train, validation, batch_size=settings.batch_size, seed=seed, drop_last=settings.drop_last
    )
    best = BestEpoch(settings.patience)
    trainer = quiet_trainer(recipe, [TrainingProgress(console), best], loggers)
    if ranks.n > 1:  # the same weights by now, but dropout of their own
        lightning.seed_everything(seed + RANK_STRIDE * ranks.rank, workers=True, verbose=False)
    ranks.barrier()
    with interruptible():
        trainer.fit(module, datamodule=data)
    held = make_whole(module, trainer)
    tail = module.losses[-max(1, len(module.losses) // 10) :]
    trained = sum(p.numel() for p in student.body.parameters() if p.requires_grad)
    return {
        "steps": float(trainer.global_step),
        "epochs": float(best.n_epochs),
        "loss": sum(tail) / max(1, len(tail)),
        "parameters": float(trained),
        "train_seconds": time.monotonic() - started,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**30 if sys.platform == "darwin" else 2**20),
        **({} if meter is None else {"joules": meter.lap()}),
        **held,
        **best.summary(),
    }


def _module_of(student: ClassifierStudent, recipe: Recipe) -> ClassifierModule:
    """Return the student's body with the recipe's loss and optimizer."""
    settings = recipe.training
    optimizer = ClassifierOptimizer(
        lr=settings.lr,
        warmup_steps=settings.warmup_steps,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
    )
    return ClassifierModule(student.body, build_loss(recipe), optimizer)


class BestEpoch(Callback):
    """Keeps the trained weights of the epoch with the least validation loss; stops when it stops falling.

    Frozen weights are not copied.

    Args:
        patience: epochs in a row without a lesser loss after which training stops; None = never.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.n_epochs = self.n_worse = 0
        self.best: dict[str, float] = {}
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.n_epochs += 1

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        found = module.validation
        if not self.best or found["loss"] < self.best["loss"]:
            self.best = {"epoch": float(trainer.current_epoch), **found}
            self.weights = {
                name: p.detach().clone() for name, p in module.body.named_parameters() if p.requires_grad
            }
            self.n_worse = 0
            return
        self.n_worse += 1
        if self.patience is not None and self.n_worse >= self.patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if self.weights:
            with torch.no_grad():
                for name, p in module.body.named_parameters():
                    if name in self.weights:
                        p.copy_(self.weights[name])
            self.weights = {}

    def summary(self) -> dict[str, float]:
        """Return the best epoch and what it measured; nothing without validation texts."""
        if not self.best:
            return {}
        return {
            "best_epoch": self.best["epoch"],
            "validation_loss": self.best["loss"],
            "validation_accuracy": self.best["accuracy"],
        }
