"""Texts to frozen features: what the store lacks is computed in one pass a backbone, the rest is read.

Shape legend: n texts, B of a batch, L layers of a backbone, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmteach.corpus.texts import Texts
from lmteach.students.backbone import Backbone, Feature, Vectors
from lmteach.students.feature_store import FeatureColumn, MemoryColumn, Rows
from lmteach.students.hash_rows import Hashes
from lmteach.tracking.console import Console

Column = FeatureColumn | MemoryColumn
COMMIT_SECONDS = 5.0  # of extraction that a kill may cost


@dataclass(frozen=True)
class Located:
    """One backbone's features of n texts: a column for each layer, and each text's row in it."""

    columns: Sequence[Column]
    rows: Sequence[Rows]

    @property
    def shape(self) -> tuple[int, int]:
        """(L, D)."""
        return len(self.columns), self.columns[0].dim

    def read(self, positions: npt.NDArray[np.int64]) -> Tensor:
        """Return [B, L, D] in fp32."""
        parts = [
            column.read(rows_n[positions]) for column, rows_n in zip(self.columns, self.rows, strict=True)
        ]
        return torch.from_numpy(np.stack(parts, axis=1))


@dataclass(frozen=True)
class FeatureInputs:
    """n texts as the vectors of each backbone by name, read from the store a batch at a time."""

    located: Mapping[str, Located]
    n: int

    @property
    def lengths_n(self) -> npt.NDArray[np.int64]:
        return np.ones(self.n, np.int64)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(L, D) of each backbone."""
        return {name: located.shape for name, located in self.located.items()}

    def collate(self, positions: Sequence[int]) -> dict[str, Tensor]:
        wanted = np.asarray(positions, np.int64)
        return {name: located.read(wanted) for name, located in self.located.items()}


def read_features(
    backbones: Sequence[Backbone],
    texts: Sequence[str],
    console: Console,
    *,
    store: Path | None,
    layers: Mapping[str, Sequence[int]] | None = None,
) -> FeatureInputs:
    """Return the features of n texts; a backbone whose vectors are all known is not loaded.

    Args:
        store: folder of the feature store; None keeps vectors in memory only.
        layers: by backbone, other layers than its section's.
    """
    hashes = Hashes.of(texts)
    wanted = {b.name: b.features((layers or {}).get(b.name)) for b in backbones}
    columns: dict[tuple[str, Feature], Column] = {}
    for alike in _same_pass(backbones):
        features = list(dict.fromkeys(feature for b in alike for feature in wanted[b.name]))
        found: Mapping[Feature, Column] = (
            _in_memory(alike[0], features, texts)
            if store is None
            else _in_store(alike[0], features, texts, hashes, console, store)
        )
        columns |= {(b.name, feature): column for b in alike for feature, column in found.items()}
    everyone = np.arange(len(texts), dtype=np.int64)
    located = {}
    for name, features in wanted.items():
        mine = [columns[name, feature] for feature in features]
        rows = [c.find(hashes) if isinstance(c, FeatureColumn) else everyone for c in mine]
        located[name] = Located(mine, rows)
    return FeatureInputs(located, len(texts))


def _same_pass(backbones: Sequence[Backbone]) -> list[list[Backbone]]:
    """Group backbones that one pass serves: the same weights, length, precision and storage."""
    groups: dict[tuple[str, str], list[Backbone]] = {}
    for backbone in backbones:
        groups.setdefault((backbone.shelf, backbone.section.stored), []).append(backbone)
    return list(groups.values())


def column_folder(store: Path, backbone: Backbone, feature: Feature) -> Path:
    """Return where the store keeps one feature."""
    return store / backbone.shelf / f"{feature.layer:03d}-{feature.pooling}-{backbone.section.stored}"


def column_of(store: Path, backbone: Backbone, feature: Feature) -> FeatureColumn:
    """Return the store's column of one feature."""
    return FeatureColumn(column_folder(store, backbone, feature), backbone.dim, backbone.section.stored)


def _in_store(
    backbone: Backbone,
    features: Sequence[Feature],
    texts: Sequence[str],
    hashes: Hashes,
    console: Console,
    store: Path,
) -> dict[Feature, FeatureColumn]:
    columns = {feature: column_of(store, backbone, feature) for feature in features}
    known = np.stack([column.find(hashes) >= 0 for column in columns.values()])
    missing = hashes.first_of_each(np.flatnonzero(~known.all(axis=0)))
    if len(missing):
        _extract(backbone, columns, Texts([texts], missing), hashes.take(missing), console)
    elif len(texts):
        console.say(f"features {backbone.name}: all {len(texts):,} texts from the store")
    return columns


def _extract(
    backbone: Backbone,
    columns: Mapping[Feature, FeatureColumn],
    texts: Sequence[str],
    hashes: Hashes,
    console: Console,
) -> None:
    """Run a backbone over texts that some column lacks; written every few seconds, so that a kill costs little."""
    pending: list[tuple[npt.NDArray[np.int64], Mapping[Feature, Vectors]]] = []
    last = time.monotonic()

    def commit() -> None:
        places = np.concatenate([part for part, _ in pending])
        batch = hashes.take(places)
        for feature, column in columns.items():
            lacking = np.flatnonzero(column.find(batch) < 0)
            if len(lacking):
                vectors_BD = np.concatenate([found[feature] for _, found in pending])
                column.append(batch.take(lacking), vectors_BD[lacking])
        pending.clear()

    def keep(places: npt.NDArray[np.int64], found: Mapping[Feature, Vectors]) -> None:
        nonlocal last
        pending.append((places, found))
        progress.advance(len(places))
        if time.monotonic() - last > COMMIT_SECONDS:
            commit()
            last = time.monotonic()

    with console.stage(f"features {backbone.name}", len(texts), unit="texts") as progress:
        try:
            backbone.run(texts, list(columns), keep)
        finally:
            if pending:
                commit()
            backbone.free()


def _in_memory(
    backbone: Backbone, features: Sequence[Feature], texts: Sequence[str]
) -> dict[Feature, MemoryColumn]:
    columns = {f: MemoryColumn(len(texts), backbone.dim, backbone.section.stored) for f in features}

    def keep(places: npt.NDArray[np.int64], found: Mapping[Feature, Vectors]) -> None:
        for feature, column in columns.items():
            column.vectors_nD[places] = found[feature]

    backbone.run(texts, features, keep)
    return columns
