"""One student trained on one cycle's pseudo-labels: one `Trainer.fit`."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy

from lmteach.curriculum.datamodule import PseudoLabelDataModule, PseudoLabels
from lmteach.curriculum.ranks import SOLO, Ranks
from lmteach.machine import choose_precision, device_name
from lmteach.recipe.loss import build_loss
from lmteach.recipe.schema import Recipe, TrainerSection
from lmteach.students.biencoder import BiEncoderModule, OptimizerOptions
from lmteach.students.classifier import ClassifierModule
from lmteach.students.protocol import Encoder
from lmteach.tracking.console import Console, Progress

LOGGED = 200  # points of a training's loss, about
RANK_STRIDE = 10_007  # between the seeds of two ranks: farther apart than those of two cycles


def train_student(
    encoder: Encoder,
    label: Callable[[], PseudoLabels],
    recipe: Recipe,
    console: Console,
    seed: int,
    loggers: Sequence[Any] = (),
    ranks: Ranks = SOLO,
) -> dict[str, float]:
    """Train `encoder` in place; on several ranks it ends the same on all.

    Args:
        label: makes the pseudo-labels, inside `setup("fit")`.
        seed: decides order, draws and dropout.
        loggers: Lightning's, of the training loss.

    Returns:
        `steps`, and the mean `loss` of the last tenth of them; under FSDP also what this rank held of weights
        and optimizer state, in bytes.
    """
    lightning.seed_everything(seed, workers=True, verbose=False)
    settings = recipe.training
    module = BiEncoderModule(encoder, build_loss(recipe), _optimizer_options(recipe), settings.cached_batch)

    def labelled() -> PseudoLabels:
        made = label()
        # A resumed run finds its labels made: what making them drew must not change what training draws.
        # Dropout differs between ranks; order and draws are functions of the data module's seed.
        lightning.seed_everything(seed + RANK_STRIDE * ranks.rank, workers=True, verbose=False)
        ranks.barrier()  # without a limit, whereas Lightning's own that follows has one
        return made

    data = PseudoLabelDataModule(
        labelled, encoder, batch_size=settings.batch_size, seed=seed, drop_last=settings.drop_last
    )
    trainer = quiet_trainer(recipe, [TrainingProgress(console)], loggers)
    ranks.barrier()
    with interruptible():
        trainer.fit(module, datamodule=data)
    tail = module.losses[-max(1, len(module.losses) // 10) :]
    measured = {"steps": float(trainer.global_step), "loss": sum(tail) / max(1, len(tail))}
    return {**measured, **make_whole(module, trainer)}


def make_whole(module: BiEncoderModule | ClassifierModule, trainer: lightning.Trainer) -> dict[str, float]:
    """Gather the weights of a student that trained divided among the ranks, on all of them.

    Returns:
        What this rank held; see `Divided.held_bytes`. Nothing where the student was whole all along.
    """
    if module.divided is None:
        return {}
    held = module.divided.held_bytes(trainer.optimizers)
    for optimizer in trainer.optimizers:  # room for the weights
        optimizer.zero_grad()
        optimizer.state.clear()
    module.divided.restore()
    return held


@contextmanager
def interruptible() -> Iterator[None]:
    """Pass Ctrl-C on, which Lightning turns into a silent exit with later ones ignored."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from error


def _optimizer_options(recipe: Recipe) -> OptimizerOptions:
    settings = recipe.training
    return OptimizerOptions(
        lr=settings.lr,
        warmup_steps=settings.warmup_steps,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )


def strategy_of(trainer: TrainerSection) -> str | ModelParallelStrategy:
    """Return Lightning's strategy: DDP for several processes, also where it would take another.

    `fsdp` is its strategy for torch's `fully_shard`, which the modules call themselves: its own `fsdp` wants CUDA.
    One process has nobody to divide weights with.
    """
    n = trainer.devices * trainer.num_nodes
    if trainer.strategy == "fsdp":
        return "auto" if n == 1 else ModelParallelStrategy(data_parallel_size=n, tensor_parallel_size=1)
    return "ddp" if n > 1 and trainer.strategy == "auto" else trainer.strategy


def quiet_trainer(recipe: Recipe, callbacks: list[Callback], loggers: Sequence[Any]) -> lightning.Trainer:
    """Return a recipe's Trainer: progress is left to our console, checkpoints to the cycle, shards to our sampler."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    settings, device = recipe.training, device_name(recipe.trainer.accelerator)
    precision: Any = {"bf16": "bf16-mixed", "fp32": "32-true"}[choose_precision(settings.precision, device)]
    # A job that SLURM requeues goes on by --resume; Lightning's own way would write checkpoints of its own.
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return lightning.Trainer(
        plugins=[SLURMEnvironment(auto_requeue=False)] if slurm else None,
        accelerator=recipe.trainer.accelerator,
        devices=recipe.trainer.devices,
        num_nodes=recipe.trainer.num_nodes,
        strategy=strategy_of(recipe.trainer),
        precision=precision,
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=list(loggers) or False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=recipe.trainer.strategy != "fsdp",  # weights gathered there would be none for training
    )


class TrainingProgress(Callback):
    """Training steps on the console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stage: Any = None
        self.progress: Progress | None = None
        self.n_steps = 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        total = int(trainer.estimated_stepping_batches)
        trainer.log_every_n_steps = max(1, total // LOGGED)
        if module.optimizer.warmup_steps >= total:
            self.console.say(
                f"train: only {total:,} steps, so the learning rate stays below {module.optimizer.lr:g}; "
                f"lower training.warmup_steps ({module.optimizer.warmup_steps:,})"
            )
        self.stage = self.console.stage("train", total, unit="steps")
        self.progress = self.stage.__enter__()

    def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        made, self.n_steps = trainer.global_step - self.n_steps, trainer.global_step
        if self.progress is not None and made:
            self.progress.advance(made, loss=f"{module.losses[-1]:.4f}")

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if self.stage is not None:
            self.stage.__exit__(None, None, None)
            self.stage = None

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        if self.stage is not None:  # gives the terminal its cursor back
            self.stage.__exit__(type(exception), exception, exception.__traceback__)
            self.stage = None
