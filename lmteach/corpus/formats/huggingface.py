"""Hugging Face data sets: a folder written by `save_to_disk`, or a name on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lmteach.corpus.formats.files import label_files, read_labels
from lmteach.corpus.records import LABEL_FIELDS, SPLIT_ALIASES, ReadOptions, Record, Source
from lmteach.errors import CorpusError, missing_package

LOOKS_FOR = "dataset_dict.json or dataset_info.json, as save_to_disk writes them"


def detect(path: Path) -> bool:
    """Tell whether `save_to_disk` wrote this folder."""
    return (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file()


def open_source(path: Path, options: ReadOptions) -> Source:
    """Read a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    Raises:
        CorpusError: it cannot be read.
        PluginError: the package datasets is not installed.
    """
    datasets = _import_datasets(str(path))
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise _unreadable(str(path), error) from error
    files = sorted(file for file in path.rglob("*") if file.is_file())
    labels = label_files(path)
    source = _source(loaded, str(path), tuple(files))
    return source if not labels else Source(source.files, source.splits, partial(read_labels, labels[0]))


def open_hub(name: str) -> Source:
    """Read a data set of the hub by its name, as `owner/name`.

    Raises:
        CorpusError: there is no such data set, or the hub cannot be reached.
        PluginError: the package datasets is not installed.
    """
    datasets = _import_datasets(f"the data set {name}")
    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:
        raise _unreadable(name, error) from error
    return _source(loaded, name, ())


def _import_datasets(needed_by: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise missing_package(
            "datasets", needed_by=needed_by, command="pip install 'lmteach[hub]'"
        ) from error
    return datasets


def _unreadable(where: str, error: Exception) -> CorpusError:
    reason = str(error).strip().splitlines()
    return CorpusError(
        f"The data set cannot be loaded: {type(error).__name__}: {reason[0] if reason else ''}", where=where
    )


def _source(loaded: Any, name: str, files: tuple[Path, ...]) -> Source:
    parts: Mapping[str, Any] = loaded if isinstance(loaded, dict) else {"train": loaded}
    found = {
        split: parts[alias]
        for split, aliases in SPLIT_ALIASES.items()
        for alias in aliases[:1] + aliases
        if alias in parts
    }
    if not found:
        raise CorpusError(f"There is no train or test split; there are: {', '.join(parts)}.", where=name)
    names = next((names for part in found.values() if (names := _class_names(part.features))), None)
    return Source(
        files=files,
        splits={split: partial(_rows, part, f"{name}[{split}]") for split, part in found.items()},
        labels=None if names is None else partial(_label_records, names, name),
        version=" ".join(part._fingerprint for part in found.values()),
    )


def _class_names(features: Mapping[str, Any]) -> list[str] | None:
    """Return the names of a ClassLabel column, or of a list of them."""
    for field in LABEL_FIELDS:
        feature = features.get(field)
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            return list(names)
    return None


def _label_records(names: list[str], data_set: str) -> Iterator[Record]:
    for n, name in enumerate(names, 1):
        yield Record({"name": name, "description": ""}, f"{data_set} labels", n)


def _rows(part: Any, name: str) -> Iterator[Record]:
    for n, row in enumerate(part, 1):
        yield Record(row, name, n)
