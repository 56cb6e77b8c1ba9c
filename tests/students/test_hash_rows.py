"""A table of hashes: what a dictionary would say, in a sixth of its memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.students import hash_rows
from lmteach.students.hash_rows import Hashes, HashRows

# Few distinct halves, so that hashes share their first one and whole hashes come twice.
hashes = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda pair: b"".join(half.to_bytes(8, "little") for half in pair)
)


@given(st.lists(st.lists(hashes, max_size=6), max_size=8), st.integers(1, 6), st.lists(hashes, max_size=8))
def test_it_is_a_dictionary(batches: list[list[bytes]], small: int, asked: list[bytes]) -> None:
    expected: dict[bytes, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hash_rows, "SMALL", small)
        found = HashRows()
        n = 0
        for batch in batches:
            found.add(b"".join(batch))
            for own in batch:
                expected[own] = n
                n += 1
            assert len(found) == n
            assert found.find(asked).tolist() == [expected.get(own, -1) for own in asked]


@given(st.lists(st.sampled_from(["", "a", "b", "\ud800", "c"]), max_size=12), st.data())
def test_each_text_is_taken_where_it_stands_first(texts: list[str], data: st.DataObject) -> None:
    found = Hashes.of(texts)
    assert [found[i] == found[j] for i in range(len(texts)) for j in range(len(texts))] == [
        a == b for a in texts for b in texts
    ]
    places = data.draw(st.lists(st.integers(0, len(texts) - 1), unique=True)) if texts else []
    places.sort()
    first = {texts[i]: i for i in reversed(places)}
    assert found.first_of_each(np.asarray(places, np.int64)).tolist() == sorted(first.values())
    assert list(found.take(np.asarray(places, np.int64))) == [found[i] for i in places]
    assert list(found[1:4]) == list(found)[1:4]


def test_a_hash_costs_24_bytes() -> None:
    raw = np.random.default_rng(0).bytes(16 * 300_000)
    tracemalloc.start()
    found = HashRows()
    found.add(raw)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 25 * 300_000
    assert found.find([raw[16 * 7 : 16 * 8], raw[-16:], b"x" * 16]).tolist() == [7, 299_999, -1]
