"""Training steps of the bi-encoder beside sentence-transformers' Trainer: the same weights, texts, batch size, cuts.

    python benchmarks/student.py                                # 2 cores: minutes
    python benchmarks/student.py --threads 1 --clock cpu        # where others use the machine too
    python benchmarks/student.py --documents 1024 --rounds 3

Four ways, in turn, several rounds: each side at its defaults (here: length-sorted batches, each label encoded once,
bf16 where the machine is fast at it, the weighted triplet loss; there: its loss for pairs, random batches, fp32),
and both in the same dtype with the same loss. Documents are docstrings of the standard library, labels its modules.
Rates leave out the first steps. `--clock cpu` counts processor time of this process instead of the wall clock.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch

from lmteach import registry
from lmteach.corpus.load import load_corpus
from lmteach.curriculum.datamodule import PseudoLabels
from lmteach.curriculum.training import train_student
from lmteach.machine import choose_precision
from lmteach.recipe.schema import CorpusSection, Recipe, TrainingSection
from lmteach.students.biencoder import BiEncoderModule
from lmteach.students.negatives import positive_mask
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.tracking.console import Console
from lmteach.weights import MINILM, resolve

LOSS = {"name": "weighted_triplet"}
SKIPPED = 1  # steps before the clock starts
LENGTHS = {"document": 256, "search": 256, "label": 32}  # MiniLM's own cut for documents
Clock = Callable[[], float]


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    data = _read(arguments.documents)
    fast = choose_precision("auto", "cpu")
    print(
        f"{arguments.documents} documents, batches of {arguments.batch}, {arguments.threads} threads, "
        f"{arguments.clock} clock, fast precision {fast}",
        flush=True,
    )
    ways: dict[str, Callable[[], float]] = {
        "sentence-transformers, defaults": lambda: _theirs(
            data, arguments.batch, clock, "fp32", own_loss=True
        ),
        "lmteach, defaults": lambda: _ours(data, arguments.batch, clock, fast),
        f"sentence-transformers, {fast}, triplet": lambda: _theirs(
            data, arguments.batch, clock, fast, own_loss=False
        ),
        f"lmteach, {fast}, triplet": lambda: _ours(data, arguments.batch, clock, fast),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.rounds):
        for name, measure in ways.items():
            rates[name].append(measure())
            print(f"  round {number + 1}: {name:42}{rates[name][-1]:8.2f} documents/s", flush=True)
    print(f"\n{'':44}{'median':>8}{'least':>8}{'most':>8}  documents/s")
    for name, found in rates.items():
        print(f"{name:44}{statistics.median(found):8.2f}{min(found):8.2f}{max(found):8.2f}")
    names = list(ways)
    _ratio("at defaults (bar 2)", rates[names[1]], rates[names[0]])
    _ratio("same dtype and loss (bar 1.15)", rates[names[3]], rates[names[2]])


def _ratio(what: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    middle = statistics.median(ours) / statistics.median(theirs)
    print(f"{what}: {middle:.2f} times (rounds: {', '.join(f'{ratio:.2f}' for ratio in each)})")


def _read(n: int) -> PseudoLabels:
    """Return the first n training documents of the corpus with their gold, as a teacher without fault would label."""
    corpus = load_corpus(CorpusSection(name="python-docs", n_train=n, n_dev=1), 108, Path.cwd())
    gold = corpus.train.gold
    positions = np.arange(len(corpus.train))
    return PseudoLabels(
        corpus.train.texts(positions), [gold.of(int(i)) for i in positions], corpus.labels.texts
    )


def _ours(data: PseudoLabels, batch: int, clock: Clock, precision: Any) -> float:
    encoder = PooledEncoder(str(resolve(MINILM)), lengths=LENGTHS)
    training = TrainingSection(batch_size=batch, lr=2e-5, warmup_steps=0, precision=precision)
    recipe = Recipe(training=training, loss=dict(LOSS))
    recipe.trainer.accelerator = "cpu"
    times: list[float] = []
    step = BiEncoderModule.training_step

    def timed(self: BiEncoderModule, *args: Any) -> Any:
        times.append(clock())
        return step(self, *args)

    BiEncoderModule.training_step = timed  # type: ignore[method-assign]
    try:
        train_student(encoder, lambda: data, recipe, Console(quiet=True), seed=1)
    finally:
        BiEncoderModule.training_step = step  # type: ignore[method-assign]
    times.append(clock())
    return (len(times) - 1 - SKIPPED) * batch / (times[-1] - times[SKIPPED])


class _Triplet(torch.nn.Module):
    """This project's loss in sentence-transformers' terms: a pair's two texts and the label's id."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.loss = model, registry.build("loss", LOSS)

    def forward(self, features: Sequence[dict[str, Any]], label_ids_B: torch.Tensor) -> torch.Tensor:
        documents_BD, labels_BD = (self.model(part)["sentence_embedding"] for part in features)
        with torch.autocast("cpu", enabled=False):
            loss: torch.Tensor = self.loss(
                documents_BD.float() @ labels_BD.float().T,
                positive_mask(label_ids_B.unsqueeze(1), label_ids_B),
            )
            return loss


def _theirs(data: PseudoLabels, batch: int, clock: Clock, precision: str, *, own_loss: bool) -> float:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import SentenceTransformerTrainingArguments
    from transformers import TrainerCallback

    model = SentenceTransformer(str(resolve(MINILM)), device="cpu")
    model.max_seq_length = LENGTHS["document"]
    drawn = [int(ids[0]) for ids in data.yes]
    columns: dict[str, Any] = {"anchor": list(data.texts), "positive": [data.label_texts[i] for i in drawn]}
    if not own_loss:
        columns["label"] = drawn
    times: list[float] = []

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            times.append(clock())

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(clock())

    with tempfile.TemporaryDirectory() as folder:
        options = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            dataloader_drop_last=True,
            learning_rate=2e-5,
            bf16=precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=1,
        )
        SentenceTransformerTrainer(
            model=model,
            args=options,
            train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(model) if own_loss else _Triplet(model),
            callbacks=[Timer()],
        ).train()
    return (len(times) - 1 - SKIPPED) * batch / (times[-1] - times[SKIPPED])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=384)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    main()
