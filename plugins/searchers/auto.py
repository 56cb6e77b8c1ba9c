"""The default searcher: exact search where it is faster, ScaNN where that pays for its build."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lmteach.errors import RunError
from lmteach.search.choose import EXACT_BELOW, Choice, choose_searcher
from lmteach.search.protocol import Ids, Vectors
from lmteach.search.vectors import checked_labels, not_built
from lmteach_plugins.searchers.exact import ExactSearcher, search_device
from lmteach_plugins.searchers.scann import ScannSearcher

log = logging.getLogger(__name__)


class AutoSearcher:
    """Starts exact, and builds a ScaNN index once the queries seen and promised make up for the build.

    Label sets below `exact_below` are always searched exactly; see `lmteach.search.choose` for the rates.
    What ScaNN recalls of exact search is logged by `ScannSearcher` at its first search. Each index is built when it
    is first searched, so that a large label set is not prepared for both.
    """

    @dataclass
    class Config:
        """`n_queries`: how many queries to expect over one build; None = as they come, or as `expect` says.

        `recall` and `sample`: what ScaNN has to reach, and on how many queries that is measured.
        """

        exact_below: int = EXACT_BELOW
        n_queries: int | None = None
        recall: float = 0.95
        sample: int = 400
        precision: Literal["auto", "fp32", "bf16"] = "auto"
        device: Literal["auto", "cpu", "cuda"] = "auto"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._exact: ExactSearcher | None = None
        self._scann: ScannSearcher | None = None
        self._vectors_lD: Vectors | None = None
        self._n_seen = 0
        self._n_promised = config.n_queries or 0
        self._told = False

    @property
    def is_exact(self) -> bool:
        """Whether searches are exact at present; more queries may change that."""
        return self._scann is None

    def build(self, vectors_lD: Vectors) -> None:
        self._vectors_lD = checked_labels(vectors_lD)
        self._exact = None
        self._scann, self._n_seen, self._told = None, 0, False

    def expect(self, n_queries: int) -> None:
        """Say that `n_queries` more will come, so that the choice is made for all of them at once."""
        self._n_promised = max(self._n_promised, self._n_seen + n_queries)
        self._choose()

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        self._n_promised = max(self._n_promised, self._n_seen + len(queries_qD))
        self._choose()
        self._n_seen += len(queries_qD)
        if self._scann is None:
            return self._built_exact().search(queries_qD, k)
        return self._scann.search(queries_qD, k)

    def save(self, folder: Path) -> None:
        if self._vectors_lD is None:
            raise not_built("auto")
        # The other one may lie here from an earlier save.
        if self._scann is None:
            self._built_exact().save(folder / "exact")
            shutil.rmtree(folder / "scann", ignore_errors=True)
        else:
            self._scann.save(folder / "scann")
            shutil.rmtree(folder / "exact", ignore_errors=True)

    def load(self, folder: Path) -> None:
        if (folder / "scann").is_dir():
            scann = self._new_scann()
            scann.load(folder / "scann")
            self.build(np.load(folder / "scann" / "dataset.npy", mmap_mode="c", allow_pickle=False))
            self._scann = scann
        elif (folder / "exact").is_dir():
            exact = self._new_exact()
            exact.load(folder / "exact")
            self.build(exact.vectors_lD)
            self._exact = exact
        else:
            raise RunError("There is no index of the searcher 'auto' here.", where=str(folder))

    def _choose(self) -> None:
        if self._vectors_lD is None:
            raise not_built("auto")
        if self._scann is not None:
            return
        choice = choose_searcher(
            len(self._vectors_lD),
            self._n_promised,
            dim=self._vectors_lD.shape[1],
            on_gpu=search_device(self.config.device) == "cuda",
            exact_below=self.config.exact_below,
        )
        if choice.name == "scann":
            self._build_scann(choice)
        elif not self._told:
            self._told = True
            log.info("search: exact (%s)", choice.reason)

    def _build_scann(self, choice: Choice) -> None:
        assert self._vectors_lD is not None
        scann = self._new_scann()
        start = time.perf_counter()
        scann.build(self._vectors_lD)
        log.info("search: scann (%s), built in %.1f s", choice.reason, time.perf_counter() - start)
        self._scann, self._exact = scann, None

    def _built_exact(self) -> ExactSearcher:
        if self._vectors_lD is None:
            raise not_built("auto")
        if self._exact is None:
            self._exact = self._new_exact()
            self._exact.build(self._vectors_lD)
        return self._exact

    def _new_exact(self) -> ExactSearcher:
        return ExactSearcher(ExactSearcher.Config(self.config.precision, self.config.device))

    def _new_scann(self) -> ScannSearcher:
        return ScannSearcher(ScannSearcher.Config(recall=self.config.recall, sample=self.config.sample))
