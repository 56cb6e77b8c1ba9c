"""Texts read as they are asked for: what a list would give, and no more memory than a window needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.documents import Documents
from lmteach.corpus.texts import Texts
from lmteach.types import Document


def documents_of(texts: list[str]) -> Documents:
    return Documents.of([Document(f"id{i}", text, (0,)) for i, text in enumerate(texts)])


short = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), max_size=7)


@settings(deadline=None, max_examples=60)
@given(st.data(), short, short, short)
def test_they_are_a_list_of_lists_joined_and_picked(
    data: st.DataObject, first: list[str], second: list[str], third: list[str]
) -> None:
    def pick(texts: Texts, expected: list[str]) -> tuple[Texts, list[str]]:
        rows = data.draw(
            st.lists(st.integers(-len(expected), len(expected) - 1)) if expected else st.just([])
        )
        return texts.take(rows), [expected[i] for i in rows]

    found, expected = pick(Texts.of(documents_of(first)), first)
    found, expected = found.followed_by(second), expected + second
    found, expected = pick(found, expected)
    found, expected = (
        found.followed_by(Texts([documents_of(third).ids])),
        expected + [f"id{i}" for i in range(len(third))],
    )
    assert list(found) == expected
    assert len(found) == len(expected)
    part = data.draw(st.slices(len(expected) + 2))
    assert found[part] == expected[part]
    if expected:
        assert found[-1] == expected[-1]
    with pytest.raises(IndexError):
        found[len(expected)]


READER = """
import resource, sys, numpy as np
from pathlib import Path
from lmteach.corpus.documents import Documents
from lmteach.corpus.texts import Texts
documents = Documents.open(Path(sys.argv[1]), "x")
texts, rng = Texts.of(documents), np.random.default_rng(0)
texts[:10]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = sum(map(len, texts))
for _ in range(20):
    texts.at(rng.integers(0, len(texts), 1000))
for i in rng.integers(0, len(texts), 3000):
    texts[i]
print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_file_is_walked_through_without_being_held(tmp_path: Path) -> None:
    """300 MB on disk, read in order, then at random, then one by one."""
    table = Documents.of(
        [Document(f"d{i}", f"{i:06d} " + "long text " * 300, (0,)) for i in range(4000)]
    )._table
    with pa.OSFile(str(tmp_path / "d.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for _ in range(25):
            writer.write_table(table, max_chunksize=1000)
    found = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "d.arrow")], capture_output=True, text=True, check=True
    )
    n, grown = map(int, found.stdout.split())
    assert n == 100_000 * 3007
    assert grown < 130, "megabytes"
