"""A cycle's pseudo-labels as training batches. Labels are made in `setup("fit")`, never in a dataloader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lmteach.students.biencoder import TripletBatch
from lmteach.students.protocol import Encoder
from lmteach.students.room import TokenIds

SORT_WINDOW = 8  # batches whose documents are sorted by length together: padding falls, batches stay random


@dataclass(frozen=True)
class PseudoLabels:
    """What a cycle trains on: n texts, each with a non-empty yes set.

    `yes` holds label ids; `label_texts` the text of every label of the label set.
    """

    texts: Sequence[str]
    yes: Sequence[npt.NDArray[np.int64]]
    label_texts: Sequence[str]


class PseudoLabelDataModule(lightning.LightningDataModule):
    """Batches of (document, one of its yes labels), drawn anew in each epoch.

    Args:
        label: makes the pseudo-labels; called once, in `setup("fit")`, where Lightning has no barrier whose
            time limit a long teacher pass could break.
        encoder: tokenizes.
        seed: with the epoch, decides order and draws: a resumed epoch is the same epoch.
    """

    def __init__(
        self,
        label: Callable[[], PseudoLabels],
        encoder: Encoder,
        *,
        batch_size: int,
        seed: int,
        drop_last: bool = True,
    ) -> None:
        super().__init__()
        self.label = label
        self.encoder = encoder
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.pseudo_labels: PseudoLabels | None = None

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.pseudo_labels is None:
            self.pseudo_labels = self.label()
            tokenize, made = self.encoder.tokenize, self.pseudo_labels
            self.document_ids = TokenIds(lambda texts: tokenize(texts, "document"), made.texts)
            self.label_ids = TokenIds(lambda texts: tokenize(texts, "label"), made.label_texts)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.pseudo_labels is not None
        lengths = self.document_ids.lengths_n
        trainer = self.trainer
        sampler = LengthSortedBatches(
            lengths,
            batch_size=self.batch_size,
            seed=self.seed,
            drop_last=self.drop_last,
            epoch=lambda: trainer.current_epoch if trainer else 0,
            rank=trainer.global_rank if trainer else 0,
            n_ranks=trainer.world_size if trainer else 1,
        )
        return DataLoader(Positions(len(lengths)), batch_sampler=sampler, collate_fn=self._collate)

    def _collate(self, positions: list[int]) -> TripletBatch:
        assert self.pseudo_labels is not None
        epoch = self.trainer.current_epoch if self.trainer else 0
        yes = [self.pseudo_labels.yes[i] for i in positions]
        drawn = [_draw(ids, self.seed, epoch, i) for ids, i in zip(yes, positions, strict=True)]
        distinct, rows = np.unique(np.asarray(drawn, dtype=np.int64), return_inverse=True)
        width = max(len(ids) for ids in yes)
        yes_ids_BP = np.full((len(yes), width), -1, dtype=np.int64)
        for row, ids in zip(yes_ids_BP, yes, strict=True):
            row[: len(ids)] = ids
        return TripletBatch(
            documents=self.encoder.collate([self.document_ids[i] for i in positions]),
            labels=self.encoder.collate([self.label_ids[i] for i in distinct.tolist()]),
            drawn_B=torch.from_numpy(rows),
            label_ids_B=torch.tensor(drawn),
            yes_ids_BP=torch.from_numpy(yes_ids_BP),
        )


class LengthSortedBatches(Sampler[list[int]]):
    """Random batches of documents of like length: a pure function of (seed, epoch), split over the ranks."""

    def __init__(
        self,
        lengths: Sequence[int] | npt.NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        drop_last: bool,
        epoch: Callable[[], int] = lambda: 0,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        # A lone short batch is better than no training at all.
        self.drop_last = drop_last and len(lengths) >= batch_size * n_ranks
        self.epoch = epoch
        self.rank, self.n_ranks = rank, n_ranks
        self.sampler = self  # Lightning 2.5 asks batch samplers for theirs, to warn of shuffled validation

    def __len__(self) -> int:
        share = self.batch_size * self.n_ranks
        return len(self.lengths) // share if self.drop_last else -(-len(self.lengths) // share)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch()])
        order = rng.permutation(len(self.lengths))
        if self.drop_last:
            order = order[: len(self) * self.batch_size * self.n_ranks]
        batches: list[npt.NDArray[np.int64]] = []
        window = SORT_WINDOW * self.batch_size * self.n_ranks
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[i : i + self.batch_size] for i in range(0, len(part), self.batch_size)]
        turns = [batches[i : i + self.n_ranks] for i in range(0, len(batches), self.n_ranks)]
        for i in rng.permutation(len(turns)):
            turn = turns[i]
            yield turn[self.rank % len(turn)].tolist()  # the last turn may be short: then ranks share a batch


class Positions(Dataset[int]):
    """A dataset of positions alone: collating reads what a batch needs."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i


def _draw(ids: npt.NDArray[np.int64], seed: int, epoch: int, position: int) -> int:
    """Draw one yes label uniformly, by (seed, epoch, document) alone."""
    if len(ids) == 1:
        return int(ids[0])
    return int(ids[np.random.default_rng([seed, epoch, position]).integers(len(ids))])
