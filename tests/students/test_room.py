"""Room that grows with the corpus: token ids without Python's numbers, vectors in a file without a name."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.students import room
from lmteach.students.room import TokenIds, new_vectors


@given(
    st.lists(st.lists(st.integers(0, 2**17) | st.integers(0, 2**31 - 1), max_size=6), max_size=25),
    st.integers(1, 9),
    st.sampled_from([0, 20, 10**6]),
)
def test_token_ids_are_those_of_the_tokenizer(made: list[list[int]], window: int, largest: int) -> None:
    asked: list[int] = []

    def tokenize(texts) -> list[list[int]]:
        asked.append(len(texts))
        return [made[int(text)] for text in texts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "WINDOW", window)
        ids = TokenIds(tokenize, [str(i) for i in range(len(made))], largest=largest)
        assert list(ids) == made
        assert ids[1:7:2] == made[1:7:2]
        assert ids.lengths_n.tolist() == [len(m) for m in made]
        assert len(ids) == len(made)
        if made:
            assert ids[-1] == made[-1]
    assert max(asked, default=0) <= window
    with pytest.raises(IndexError):
        ids[len(made)]


@pytest.mark.parametrize(
    ("first", "largest", "n_bytes"), [(1000, 10**9, 2), (70_000, 10**9, 4), (1000, 0, 0)]
)
def test_a_token_costs_two_bytes_or_four_or_none(
    first: int, largest: int, n_bytes: int, tmp_path: Path
) -> None:
    texts, made = ["x"] * 20_000, list(range(first, first + 200))
    tracemalloc.start()
    ids = TokenIds(lambda texts: [made for _ in texts], texts, folder=tmp_path, largest=largest)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < (n_bytes * 200 + 30) * len(ids)
    assert ids[17_000] == made
    assert list(tmp_path.iterdir()) == [], "the file has no name"


def test_small_arrays_stay_in_memory_and_large_ones_lie_in_the_folder(tmp_path: Path, monkeypatch) -> None:
    assert not isinstance(new_vectors(10, 4, tmp_path), np.memmap)
    monkeypatch.setattr(room, "LARGEST", 100)
    vectors = new_vectors(10, 4, tmp_path)
    assert isinstance(vectors, np.memmap)
    vectors[:] = np.arange(40).reshape(10, 4)
    assert vectors[7, 3] == 31
    assert list(tmp_path.iterdir()) == [], "it has no name, so nothing is left behind by a kill"
    assert new_vectors(0, 4, tmp_path).shape == (0, 4)
