"""Unlabelled documents beside the training ones: found under their names, drawn by seed, without gold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmteach.corpus.load import load_corpus
from lmteach.errors import CorpusError
from lmteach.recipe.schema import CorpusSection


def write(folder: Path, name: str, n: int, *, labels: bool) -> None:
    lines = [
        json.dumps({"id": f"{name}{i}", "text": f"{name} text {i}"} | ({"labels": [i % 2]} if labels else {}))
        for i in range(n)
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, own_cache: Path) -> Path:
    write(tmp_path, "train", 10, labels=True)
    write(tmp_path, "test", 4, labels=True)
    write(tmp_path, "unsup", 30, labels=False)
    (tmp_path / "labels.txt").write_text("bad\ngood\n")
    return tmp_path


def test_they_are_read_only_where_asked_for(folder: Path) -> None:
    without = load_corpus(CorpusSection(path=str(folder), n_dev=2), 1, folder)
    everything = load_corpus(CorpusSection(path=str(folder), n_dev=2, n_extra=None), 1, folder)
    assert without.extra is None
    assert everything.extra is not None
    assert list(everything.extra.ids) == [f"unsup{i}" for i in range(30)]
    assert everything.fingerprint != without.fingerprint
    assert list(everything.train.ids) == list(without.train.ids)


def test_a_greater_draw_contains_a_smaller_one(folder: Path) -> None:
    drawn = []
    for n in (5, 12):
        extra = load_corpus(CorpusSection(path=str(folder), n_dev=2, n_extra=n), 1, folder).extra
        assert extra is not None
        drawn.append(set(extra.ids))
    assert len(drawn[0]) == 5
    assert drawn[0] < drawn[1]


def test_their_gold_is_withheld(folder: Path) -> None:
    (folder / "unsup.jsonl").unlink()
    write(folder, "extra", 6, labels=True)
    extra = load_corpus(CorpusSection(path=str(folder), n_dev=2, n_extra=None), 1, folder).extra
    assert extra is not None
    assert extra.gold_access == "withheld"
    assert extra[0].labels is None
    assert extra.gold_for_oracle().of(1).tolist() == [1]


@pytest.mark.parametrize("n", [-1, 31])
def test_more_than_there_are_is_an_error(folder: Path, n: int) -> None:
    with pytest.raises(CorpusError, match="30 unlabelled"):
        load_corpus(CorpusSection(path=str(folder), n_dev=2, n_extra=n), 1, folder)


def test_a_corpus_without_any_says_how_to_add_them(folder: Path) -> None:
    (folder / "unsup.jsonl").unlink()
    with pytest.raises(CorpusError) as error:
        load_corpus(CorpusSection(path=str(folder), n_dev=2, n_extra=None), 1, folder)
    assert "extra.jsonl" in str(error.value)
