"""Views of documents show the right rows, and gold stays shut until it may be read."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.documents import Documents, document_digest
from lmteach.errors import CorpusError, RunError
from lmteach.types import Document

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
gold_labels = st.lists(st.integers(0, 9), max_size=4).map(lambda ids: tuple(sorted(set(ids))))
contents = st.lists(st.tuples(texts, texts, gold_labels), min_size=1, max_size=12)


def documents_of(content: list[tuple[str, str, tuple[int, ...]]]) -> list[Document]:
    return [Document(f"d{i}", text, labels, title) for i, (text, title, labels) in enumerate(content)]


def in_chunks(documents: list[Document], size: int) -> Documents:
    """Hold documents in a table of many small chunks, as a large file has."""
    whole = Documents.of(documents)
    parts = [whole._table.slice(i, size).combine_chunks() for i in range(0, len(documents), size)]
    return Documents(pa.concat_tables(parts), whole.fingerprint)


def ten() -> Documents:
    return in_chunks([Document(f"d{i}", f"text {i}", (i % 3,), f"title {i}") for i in range(10)], 4)


@settings(deadline=None)
@given(contents, st.data())
def test_a_view_of_a_view_shows_what_a_list_of_a_list_would(content: list, data: st.DataObject) -> None:
    plain = documents_of(content)
    view = in_chunks(plain, data.draw(st.integers(1, 5)))
    for _ in range(2):
        rows = data.draw(st.lists(st.integers(-len(plain), len(plain) - 1), min_size=1, max_size=15))
        plain, view = [plain[i] for i in rows], view.take(rows)
    assert list(view) == plain
    assert [view[i] for i in range(len(view))] == plain
    assert view.texts(range(len(plain))) == [d.text for d in plain]
    assert view.titles(range(len(plain))) == [d.title for d in plain]
    assert list(view.ids) == [d.id for d in plain]
    assert [tuple(view.gold.of(i)) for i in range(len(plain))] == [d.labels for d in plain]
    assert len(view.gold) == len(view) == len(plain)


def test_slices_and_negative_positions() -> None:
    documents = ten()
    assert [d.id for d in documents[2:8:3]] == ["d2", "d5"]
    assert documents[-1].id == "d9"
    assert documents.ids[-1] == "d9"
    assert documents.ids[7:] == ["d7", "d8", "d9"]


@pytest.mark.parametrize("position", [10, -11])
def test_a_position_out_of_range_is_refused(position: int) -> None:
    with pytest.raises(IndexError, match="10"):
        ten()[position]
    with pytest.raises(IndexError):
        ten().take([0, position])


def test_no_documents_at_all() -> None:
    nothing = ten().take([])
    assert len(nothing) == 0
    assert list(nothing) == []
    assert len(nothing.gold) == 0


def test_sealed_gold_is_unreadable_by_every_way_until_unsealed() -> None:
    sealed = ten().sealed()
    part = sealed.take([3, 4])[1:]
    for documents in (sealed, part, part.sealed()):
        assert documents.gold_access == "sealed"
        assert all(d.labels is None for d in documents)
        assert documents[0].labels is None
        with pytest.raises(RunError, match="before training was over"):
            _ = documents.gold
    sealed.unseal()
    assert part[0].labels == (1,)
    assert part.gold.of(0).tolist() == [1]
    assert sealed.gold.of(5).tolist() == [2]


def test_a_seal_on_a_view_leaves_its_origin_open() -> None:
    documents = ten()
    documents.sealed()
    assert documents.gold.of(1).tolist() == [1]


def test_withheld_gold_stays_withheld_when_a_seal_is_opened() -> None:
    dev = ten().sealed().without_gold().take([1, 2])
    dev.unseal()
    assert dev[0].labels is None
    with pytest.raises(CorpusError, match="without gold"):
        _ = dev.gold


def test_documents_without_gold_work_but_for_gold() -> None:
    documents = Documents.of([Document("a", "x"), Document("b", "y", (1,))])
    assert not documents.has_gold
    assert [d.labels for d in documents] == [None, (1,)]
    with pytest.raises(CorpusError, match="1 of 2 documents have no gold"):
        _ = documents.gold


@settings(deadline=None)
@given(contents, contents)
def test_fingerprints_are_equal_just_where_content_is(one: list, other: list) -> None:
    a, b = Documents.of(documents_of(one)), Documents.of(documents_of(other))
    assert (a.fingerprint == b.fingerprint) == (one == other)


def test_a_views_fingerprint_depends_on_its_rows_and_their_order() -> None:
    documents = ten()
    prints = [documents.take(rows).fingerprint for rows in ([1, 2], [2, 1], [1, 2, 3], [1, 2])]
    assert prints[0] == prints[3]
    assert len({documents.fingerprint, *prints}) == 4


def test_no_two_documents_share_a_digest_by_moving_text_between_fields() -> None:
    alike = [Document("ab", "c"), Document("a", "bc"), Document("a", "c", None, "b"), Document("ab", "c", ())]
    assert len({document_digest(d) for d in alike}) == 4


def test_a_mapped_view_is_pickled_by_path_with_its_seal(tmp_path: Path) -> None:
    table = Documents.of([Document(f"d{i}", "long text " * 1000, (0,)) for i in range(50)])._table
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    view = Documents.open(tmp_path / "t.arrow", "f").take(np.arange(10, 20)).sealed()
    pickled = pickle.dumps(view)
    assert len(pickled) < 5_000
    copy = pickle.loads(pickled)
    assert [d.id for d in copy] == [f"d{i}" for i in range(10, 20)]
    assert copy.gold_access == "sealed"
    assert copy.fingerprint == view.fingerprint


def test_reading_a_few_documents_of_a_large_file_maps_it_rather_than_loading_it(tmp_path: Path) -> None:
    n_batches = 40
    batch = Documents.of([Document(f"d{i}", "x" * 1_000_000, (0,)) for i in range(2)])._table
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        for _ in range(n_batches):
            writer.write_table(batch)
    before = pa.total_allocated_bytes()
    documents = Documents.open(tmp_path / "t.arrow", "f")
    assert len(documents) == 2 * n_batches
    assert len(documents.texts([5, 70])[1]) == 1_000_000
    assert pa.total_allocated_bytes() - before < 5_000_000  # of 80 MB
