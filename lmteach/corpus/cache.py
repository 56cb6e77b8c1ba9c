"""Checked corpora as Arrow files in a cache folder: written once and whole, read in place ever after."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lmteach.corpus.corpus import LabelSet
from lmteach.corpus.documents import Documents
from lmteach.corpus.records import ReadOptions, Source
from lmteach.corpus.writing import write_corpus
from lmteach.errors import CorpusError

READER_VERSION = 2  # raise it whenever the same files may give other documents
_log = logging.getLogger(__name__)
_LEFTOVER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class StoredCorpus:
    """A whole corpus as it lies in the cache, before anything is drawn from it.

    `n_read` counts the documents that each split's files hold, those left out for want of text included.
    """

    labels: LabelSet
    splits: Mapping[str, Documents]
    n_read: Mapping[str, int]
    folder: Path


def cache_root() -> Path:
    """Return `$LMTEACH_CACHE`, or `~/.cache/lmteach`."""
    configured = os.environ.get("LMTEACH_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "lmteach"


def load_cached(name: str, source: Source, options: ReadOptions) -> StoredCorpus:
    """Return a source's corpus, from the cache where it is there and sound, else read, checked and kept.

    Args:
        name: what the corpus is called in log lines.
        source: its files and readers.
        options: how fields become texts.

    Raises:
        CorpusError: the source breaks a rule, or the cache cannot be written.
    """
    folder = cache_root() / "corpora" / _key(source, options)
    if folder.exists():
        try:
            return _open(folder)
        except CorpusError as error:
            _log.warning("cached corpus %s is damaged and is made anew: %s", name, error)
            shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    _write_whole(folder, source, options)
    stored = _open(folder)
    counts = ", ".join(f"{len(documents)} {split}" for split, documents in stored.splits.items())
    _log.info(
        "corpus %s read in %.1f s: %s, %d labels",
        name,
        time.monotonic() - started,
        counts,
        len(stored.labels),
    )
    return stored


def _key(source: Source, options: ReadOptions) -> str:
    files = []
    for path in source.files:
        stat = path.stat()
        files.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    content = json.dumps([READER_VERSION, source.version, asdict(options), sorted(source.splits), files])
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _open(folder: Path) -> StoredCorpus:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        labels = LabelSet(tuple(meta["label_names"]), tuple(meta["label_texts"]))
        splits, n_read = {}, {}
        for split, facts in meta["splits"].items():
            path = folder / f"{split}.arrow"
            if path.stat().st_size != facts["size"]:
                raise CorpusError(f"{path.stat().st_size} bytes instead of {facts['size']}.", where=str(path))
            splits[split] = Documents.open(path, facts["fingerprint"])
            n_read[split] = int(facts["n_read"])
            if len(splits[split]) != facts["n"]:
                raise CorpusError(f"{len(splits[split])} documents instead of {facts['n']}.", where=str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{type(error).__name__}: {error}.", where=str(folder)) from error
    return StoredCorpus(labels, splits, n_read, folder)


def _write_whole(folder: Path, source: Source, options: ReadOptions) -> None:
    """Write beside the final place and rename, so that a folder of that name is always complete."""
    building: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        building = folder.parent / f"{folder.name}.{secrets.token_hex(6)}.part"
        building.mkdir()
        meta = write_corpus(building, source, options)
        (building / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
        os.rename(building, folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.exists():
            return  # another process was faster; it read the same files
        reason = error.strerror or str(error)
        raise CorpusError(
            f"The corpus cannot be written to the cache: {reason}.",
            where=str(folder.parent),
            mend="Free some space, or set LMTEACH_CACHE to a folder on another disk.",
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half written."""
    for part in folder.glob("*.part"):
        if time.time() - part.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(part, ignore_errors=True)
