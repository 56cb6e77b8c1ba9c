"""The exact searcher: the reference, and the fastest one for small label sets or few queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lmteach.errors import RunError
from lmteach.search.protocol import Ids, Vectors
from lmteach.search.vectors import not_built
from lmteach.tracking.run_folder import write_whole

if TYPE_CHECKING:
    from lmteach.search.exact import ExactIndex

_VECTORS = "vectors.npy"


class ExactSearcher:
    """Finds the same labels as sorting all float64 scores would; of equal scores the lower id comes first."""

    is_exact = True

    @dataclass
    class Config:
        """`precision` of the first pass, which changes the speed and never the result.

        `device`: `auto` takes a CUDA GPU where there is one.
        """

        precision: Literal["auto", "fp32", "bf16"] = "auto"
        device: Literal["auto", "cpu", "cuda"] = "auto"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._index: ExactIndex | None = None

    @property
    def vectors_lD(self) -> Vectors:  # noqa: N802
        """The indexed label vectors."""
        if self._index is None:
            raise not_built("exact")
        return self._index.vectors_lD

    def build(self, vectors_lD: Vectors) -> None:
        from lmteach.search.exact import ExactIndex

        self._index = ExactIndex(
            vectors_lD, precision=self.config.precision, device=search_device(self.config.device)
        )

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        if self._index is None:
            raise not_built("exact")
        return self._index.search(queries_qD, k)

    def save(self, folder: Path) -> None:
        vectors_lD = self.vectors_lD
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / _VECTORS, lambda path: _write(path, vectors_lD))
        except OSError as error:
            raise RunError(
                f"The exact index cannot be written: {error.strerror}.", where=str(folder)
            ) from error

    def load(self, folder: Path) -> None:
        try:
            # Copy-on-write: mapped like a read-only file, but torch need not warn that it cannot be written.
            vectors_lD = np.load(folder / _VECTORS, mmap_mode="c", allow_pickle=False)
        except FileNotFoundError as error:
            raise RunError("There is no exact index here.", where=str(folder)) from error
        except (OSError, ValueError, EOFError) as error:
            raise RunError(f"The exact index cannot be read: {error}.", where=str(folder)) from error
        self.build(vectors_lD)


def search_device(wanted: str) -> str:
    """Return the device to search on. Only CUDA and CPU: the proof needs float64, which MPS lacks."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(path: Path, vectors_lD: Vectors) -> None:
    with path.open("wb") as file:
        np.save(file, vectors_lD)
