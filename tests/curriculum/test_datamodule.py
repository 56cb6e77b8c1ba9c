"""Batches of pseudo-labels: a pure function of (seed, epoch), each document once, split over ranks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.curriculum.datamodule import LengthSortedBatches, PseudoLabelDataModule, PseudoLabels
from lmteach.students.pooled_encoder import PooledEncoder

sizes = st.integers(1, 120)
batch_sizes = st.integers(1, 20)


def sampler(lengths: list[int], **options: Any) -> LengthSortedBatches:
    return LengthSortedBatches(lengths, **({"batch_size": 4, "seed": 1, "drop_last": False} | options))


lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=150)


@given(lengths_lists, batch_sizes, st.integers(0, 2**32), st.integers(0, 5))
def test_an_epoch_holds_every_document_once(lengths, batch_size: int, seed: int, epoch: int) -> None:
    made = sampler(lengths, batch_size=batch_size, seed=seed, epoch=lambda: epoch)
    batches = list(made)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == len(made)
    assert all(len(batch) == batch_size for batch in batches) or min(map(len, batches)) >= 1
    assert sum(len(batch) < batch_size for batch in batches) <= 1


@given(lengths_lists, batch_sizes, st.integers(0, 5))
def test_dropping_the_last_leaves_whole_batches(lengths, batch_size: int, epoch: int) -> None:
    made = sampler(lengths, batch_size=batch_size, drop_last=True, epoch=lambda: epoch)
    batches = list(made)
    assert len(batches) == len(made)
    if len(lengths) < batch_size:
        assert [sorted(batch) for batch in batches] == [list(range(len(lengths)))], "a short batch beats none"
    else:
        assert {len(batch) for batch in batches} == {batch_size}
        assert len(batches) == len(lengths) // batch_size
        assert len({i for batch in batches for i in batch}) == len(batches) * batch_size


def test_what_is_dropped_changes_from_epoch_to_epoch() -> None:
    dropped = set()
    for epoch in range(30):
        kept = {i for batch in sampler([1] * 10, drop_last=True, epoch=lambda e=epoch: e) for i in batch}
        dropped |= set(range(10)) - kept
    assert dropped == set(range(10))


@given(lengths_lists, batch_sizes, st.integers(0, 2**32), st.integers(0, 9))
def test_the_same_seed_and_epoch_give_the_same_batches(
    lengths, batch_size: int, seed: int, epoch: int
) -> None:
    first, again = (sampler(lengths, batch_size=batch_size, seed=seed, epoch=lambda: epoch) for _ in range(2))
    assert list(first) == list(again) == list(first)


def test_seeds_and_epochs_shuffle_anew() -> None:
    lengths = [1] * 40
    orders = {
        str(list(sampler(lengths, seed=seed, epoch=lambda e=epoch: e)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@settings(max_examples=60)
@given(lengths_lists, batch_sizes, st.integers(2, 4), st.booleans(), st.integers(0, 3))
def test_ranks_share_an_epoch_without_overlap(lengths, batch_size, n_ranks, drop_last, epoch) -> None:
    ranks = [
        sampler(
            lengths,
            batch_size=batch_size,
            drop_last=drop_last,
            epoch=lambda: epoch,
            rank=rank,
            n_ranks=n_ranks,
        )
        for rank in range(n_ranks)
    ]
    batches = [list(rank) for rank in ranks]
    assert {len(b) for b in batches} == {len(ranks[0])}, "all ranks take as many steps, or training hangs"
    distinct = {tuple(batch) for rank in batches for batch in rank}
    taken = [i for batch in distinct for i in batch]
    assert len(taken) == len(set(taken)), "no document is in two batches"
    if ranks[0].drop_last:
        assert len(distinct) == sum(map(len, batches)), "no batch is taken twice"
    else:
        assert set(taken) == set(range(len(lengths)))


def test_a_batch_holds_documents_of_like_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 400, size=2000).tolist()
    made = list(sampler(lengths, batch_size=32))
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in made)
    shuffled = rng.permutation(2000)
    random_padded = sum(
        max(lengths[i] for i in shuffled[s : s + 32]) * len(shuffled[s : s + 32]) for s in range(0, 2000, 32)
    )
    assert padded < 1.2 * sum(lengths) < 0.8 * random_padded
    order = [np.mean([lengths[i] for i in batch]) for batch in made]
    assert order != sorted(order), "yet batches come in random order"


# The data module over real tokens


LABELS = [f"label {word}" for word in ["alpha", "beta", "gamma", "delta", "epsilon"]]
YES = [[0], [1, 3], [4, 2, 0], [3], [2], [0, 1, 2, 3, 4], [1]]
TEXTS = [f"document number {i} " + "word " * (3 * i) for i in range(len(YES))]


@pytest.fixture(scope="module")
def encoder(minilm1: Path) -> PooledEncoder:
    return PooledEncoder(str(minilm1), lengths={"document": 20, "search": 24, "label": 6})


def module(encoder: PooledEncoder, *, epoch: int = 0, seed: int = 5, **options: Any) -> PseudoLabelDataModule:
    made = PseudoLabelDataModule(
        lambda: PseudoLabels(TEXTS, [np.array(ids) for ids in YES], LABELS),
        encoder,
        **({"batch_size": 3, "seed": seed, "drop_last": False} | options),
    )
    made.trainer = SimpleNamespace(current_epoch=epoch, global_rank=0, world_size=1)  # type: ignore[assignment]
    made.setup("fit")
    return made


def drawn(made: PseudoLabelDataModule) -> list[tuple[tuple[int, ...], int]]:
    """Return (yes set, drawn label id) of each document of an epoch."""
    found = []
    for batch in made.train_dataloader():
        for yes, label in zip(batch.yes_ids_BP.tolist(), batch.label_ids_B.tolist(), strict=True):
            found.append((tuple(i for i in yes if i >= 0), label))
    return found


def test_a_label_is_drawn_from_the_documents_own_yes_set(encoder: PooledEncoder) -> None:
    for epoch in range(5):
        pairs = drawn(module(encoder, epoch=epoch))
        assert sorted(yes for yes, _ in pairs) == sorted(tuple(ids) for ids in YES)
        assert all(label in yes for yes, label in pairs)


def test_every_label_of_a_yes_set_gets_its_turn(encoder: PooledEncoder) -> None:
    seen: dict[tuple[int, ...], set[int]] = {}
    for epoch in range(40):
        for yes, label in drawn(module(encoder, epoch=epoch)):
            seen.setdefault(yes, set()).add(label)
    assert all(set(yes) == labels for yes, labels in seen.items())


def test_draws_depend_on_seed_epoch_and_document_alone(encoder: PooledEncoder) -> None:
    assert drawn(module(encoder)) == drawn(module(encoder))
    assert dict(drawn(module(encoder, batch_size=7))) == dict(drawn(module(encoder, batch_size=2)))
    by_epoch = [sorted(drawn(module(encoder, epoch=epoch))) for epoch in range(8)]
    assert any(one != by_epoch[0] for one in by_epoch)


def test_a_batch_encodes_each_label_once_and_points_at_it(encoder: PooledEncoder) -> None:
    (batch,) = module(encoder, batch_size=7).train_dataloader()
    n_distinct = len(set(batch.label_ids_B.tolist()))
    assert len(batch.labels["input_ids"]) == n_distinct < 7
    expected = encoder.tokenize([LABELS[i] for i in batch.label_ids_B.tolist()], "label")
    for place, ids in zip(batch.drawn_B.tolist(), expected, strict=True):
        row, mask = batch.labels["input_ids"][place], batch.labels["attention_mask"][place]
        assert row[mask.bool()].tolist() == ids
    documents = {
        tuple(row[mask.bool()].tolist())
        for row, mask in zip(batch.documents["input_ids"], batch.documents["attention_mask"], strict=True)
    }
    assert documents == {tuple(ids) for ids in encoder.tokenize(TEXTS, "document")}
    assert batch.documents["input_ids"].shape[1] == 20, "cut to the length of training documents"


def test_labels_are_made_once(encoder: PooledEncoder) -> None:
    calls = []

    def label() -> PseudoLabels:
        calls.append(1)
        return PseudoLabels(TEXTS, [np.array(ids) for ids in YES], LABELS)

    made = PseudoLabelDataModule(label, encoder, batch_size=2, seed=1)
    made.setup("validate")
    assert not calls
    made.setup("fit")
    made.setup("fit")
    assert len(calls) == 1
