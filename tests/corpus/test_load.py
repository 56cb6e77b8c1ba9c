"""From a recipe's section to a corpus: drawn, sealed, counted; on small sets and on the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmteach.corpus.corpus import Corpus
from lmteach.corpus.load import load_corpus, load_stored
from lmteach.corpus.splits import Split
from lmteach.errors import CorpusError, RunError
from lmteach.recipe.schema import CorpusSection


def load(path: Path, seed: int = 1, **keys: object) -> Corpus:
    return load_corpus(CorpusSection(path=str(path), **{"n_dev": 5, **keys}), seed, Path())


def test_a_corpus_is_drawn_sealed_and_apart(make_corpus: Callable[..., Path]) -> None:
    corpus = load(make_corpus(train=50, test=20), n_train=30, n_test=10)
    assert (corpus.name, len(corpus.train), len(corpus.dev), len(corpus.test)) == ("set", 30, 5, 10)
    assert not set(corpus.train.ids) & set(corpus.dev.ids)
    assert corpus.train.gold.of(0).tolist() == list(corpus.train[0].labels)
    with pytest.raises(CorpusError):
        _ = corpus.dev.gold
    with pytest.raises(RunError):
        _ = corpus.test.gold
    assert corpus.test[0].labels is None
    corpus.test.unseal()
    assert corpus.test[0].labels == tuple(corpus.test.gold.of(0))


def test_each_corpus_has_a_seal_of_its_own(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    one, other = load(folder), load(folder)
    one.test.unseal()
    assert other.test.gold_access == "sealed"


def test_the_fingerprint_follows_content_seed_and_sizes(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus(train=50)
    base = load(folder, n_train=20).fingerprint
    assert base == load(folder, n_train=20).fingerprint
    others = [
        load(folder, n_train=21),
        load(folder, seed=2, n_train=20),
        load(folder, n_train=20, n_test=3),
        load(folder, n_train=20, n_dev=4),
        load(folder, n_train=20, label_text="the {name}"),
        load(folder, n_train=20, text="the {text}"),
    ]
    assert len({base, *(corpus.fingerprint for corpus in others)}) == 7


def test_no_dev_and_no_test(make_corpus: Callable[..., Path]) -> None:
    corpus = load(make_corpus(test=None), n_dev=0)
    assert corpus.dev is None
    assert corpus.test is None


def test_too_few_documents_for_dev(make_corpus: Callable[..., Path]) -> None:
    with pytest.raises(CorpusError, match="20 training documents"):
        load(make_corpus(), n_dev=20)
    assert len(load(make_corpus(), n_dev=19).train) == 1


def test_a_relative_path_starts_at_the_recipes_folder(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    corpus = load_corpus(CorpusSection(path=folder.name, n_dev=2), 1, folder.parent)
    assert len(corpus.train) == 18


def test_only_a_test_split_is_not_enough(make_corpus: Callable[..., Path]) -> None:
    with pytest.raises(CorpusError, match="no training documents"):
        load(make_corpus(train=None))


def test_no_name_and_no_path() -> None:
    with pytest.raises(CorpusError, match=r"corpus\.path"):
        load_corpus(CorpusSection(), 1, Path())


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(CorpusError) as caught:
        load_corpus(CorpusSection(name="amazoncat-13"), 1, Path())
    assert caught.value.nearest == "amazoncat-13k"


def test_missing_files_are_named_with_origin_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMTEACH_DATA", str(tmp_path))
    (tmp_path / "amazoncat-13k").mkdir()
    (tmp_path / "amazoncat-13k" / "trn.json.gz").write_bytes(b"")
    with pytest.raises(CorpusError) as caught:
        load_corpus(CorpusSection(name="amazoncat-13k"), 1, Path())
    message = str(caught.value)
    assert "Missing: tst.json.gz, lbl.json.gz or Y.txt or Yf.txt" in message
    assert "Extreme Classification Repository" in message
    assert "lmteach data amazoncat-13k --from ARCHIVE" in message


def test_counts_of_a_known_set_are_checked(make_corpus: Callable[..., Path]) -> None:
    with pytest.raises(CorpusError) as caught:
        load(make_corpus(), name="r8")
    message = str(caught.value)
    assert "train: 20 instead of 5,485" in message
    assert "test: 10 instead of 2,189" in message
    assert "labels: 3 instead of 8" in message


def test_dropped_documents_count_as_there(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus(train=[{"text": "x"}, {"text": ""}, {"text": "y"}])
    _, stored = load_stored(CorpusSection(path=str(folder), empty="drop"), Path())
    assert (stored.n_read["train"], len(stored.splits["train"])) == (3, 2)


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "n_labels", "labels_a_document"),
    [
        ("eurlex57k", 45_000, 6_000, 4_271, 5.06),
        ("debtags", 25_159, 5_141, 593, 3.7),
        ("r8", 5_485, 2_189, 8, 1.0),
        ("sst2", 67_349, 1_821, 2, 1.0),
        ("imdb", 25_000, 25_000, 2, 1.0),
    ],
)
def test_the_real_sets(
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    n_train: int,
    n_test: int,
    n_labels: int,
    labels_a_document: float,
) -> None:
    monkeypatch.setenv("LMTEACH_DATA", str(shared))
    text = r"{title}\n{text}" if name == "debtags" else "{text}"
    corpus = load_corpus(CorpusSection(name=name, text=text), 108, Path())
    assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == (n_train - 800, 800, n_test)
    assert len(corpus.labels) == n_labels == len(set(corpus.labels.names))
    assert all(document.text.strip() for document in corpus.test)
    corpus.test.unseal()
    assert len(corpus.test.gold.ids) / n_test == pytest.approx(labels_a_document, abs=0.1)
    assert corpus.test.gold.ids.max() < n_labels


def test_a_real_document_keeps_its_fields(shared: Path) -> None:
    import gzip
    import json

    with gzip.open(shared / "eurlex57k" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        first = [json.loads(next(lines)) for _ in range(50)]
    test = load(shared / "eurlex57k").test
    test.unseal()
    for document, record in zip(test[:50], first, strict=True):
        assert (document.id, document.title, document.text) == (record["id"], record["title"], record["text"])
        assert document.labels == tuple(sorted(record["labels"]))


def test_a_draw_that_overlaps_stops_the_run(
    make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(3, dtype=np.int64)
    monkeypatch.setattr("lmteach.corpus.load.draw_split", lambda *_: Split(rows, rows[:1]))
    with pytest.raises(RunError, match="both train and dev"):
        load(make_corpus())


def test_a_corpus_seed_of_its_own_draws_the_same_documents_whatever_the_runs(
    make_corpus: Callable[..., Path],
) -> None:
    folder = make_corpus(train=50, test=20)
    one, two = (load(folder, seed=seed, n_train=20, n_test=5) for seed in (1, 2))
    assert list(one.train.ids) != list(two.train.ids)
    section = CorpusSection(path=str(folder), n_dev=5, n_train=20, n_test=5, seed=1)
    for seed in (1, 2):
        fixed = load_corpus(section, seed, Path())
        assert list(fixed.train.ids) == list(one.train.ids)
        assert list(fixed.test.ids) == list(one.test.ids)


def test_the_dev_split_may_serve_as_test(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_corpus(train=20, test=7)
    lines = (folder / "test.jsonl").read_text().splitlines()
    (folder / "dev.jsonl").write_text(
        "".join(line.replace('"id": "', '"id": "dev-') + "\n" for line in lines[:3])
    )
    corpus = load(folder, test="dev")
    assert corpus.test is not None
    assert len(corpus.test) == 3
    assert all(id_.startswith("dev-") for id_ in corpus.test.ids)
    assert corpus.test.gold_access == "sealed"
