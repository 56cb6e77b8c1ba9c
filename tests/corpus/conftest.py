"""Fixtures of the corpus tests: a cache of their own, and small corpora written to disk."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test compiles out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LMTEACH_CACHE", str(folder))
    monkeypatch.delenv("LMTEACH_DATA", raising=False)
    return folder


@pytest.fixture
def shared() -> Path:
    """The real sets beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    return SHARED


def write_jsonl(path: Path, records: Sequence[Any]) -> Path:
    """Write objects as JSON lines, compressed if the name says so."""
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a corpus in JSON lines and returns its folder."""

    def make(
        train: Sequence[Any] | int = 20,
        test: Sequence[Any] | int | None = 10,
        labels: str | None = "alpha\nbeta\ngamma\n",
    ) -> Path:
        folder = tmp_path / "set"
        folder.mkdir(exist_ok=True)
        for split, records in (("train", train), ("test", test)):
            if isinstance(records, int):
                records = [
                    {"id": f"{split}{i}", "text": f"{split} text {i}", "labels": [i % 3]}
                    for i in range(records)
                ]
            if records is not None:
                write_jsonl(folder / f"{split}.jsonl", records)
        if labels is not None:
            (folder / "labels.txt").write_text(labels, encoding="utf-8")
        return folder

    return make
