"""Rows dealt to parts: each once, twins together, as many distinct texts to each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lmteach.curriculum.dealing import deal

texts = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=30), min_size=1, max_size=3)


@given(texts, st.integers(1, 5))
def test_rows_are_dealt_once_and_twins_together(columns: list[list[str]], n: int) -> None:
    n_parts = [min(n, len(column)) for column in columns]
    parts = deal(columns, n_parts)
    assert len(parts) == sum(n_parts)
    for split, column in enumerate(columns):
        assert sorted(row for part in parts for row in part[split].tolist()) == list(range(len(column)))
    places: dict[str, set[int]] = {}
    for number, part in enumerate(parts):
        for split, rows in enumerate(part):
            assert rows.tolist() == sorted(rows)
            for row in rows.tolist():
                places.setdefault(columns[split][row], set()).add(number)
    assert all(len(numbers) == 1 for numbers in places.values())
    first = len(set(columns[0]))
    sizes = [len({columns[0][row] for row in part[0]}) for part in parts[: n_parts[0]]]
    assert sum(sizes) == first
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.integers(1, 5))
def test_every_row_of_one_column_is_one_parts(texts: list[str], n: int) -> None:
    parts = [part[0].tolist() for part in deal([texts], [n])]
    assert sorted(i for part in parts for i in part) == list(range(len(texts)))
    owner = {i: number for number, part in enumerate(parts) for i in part}
    assert all(owner[i] == owner[texts.index(text)] for i, text in enumerate(texts))
    distinct = [len({texts[i] for i in part}) for part in parts]
    assert max(distinct) - min(distinct) <= 1
    turn = [owner[texts.index(text)] for text in dict.fromkeys(texts)]
    assert turn == [i % n for i in range(len(turn))]
