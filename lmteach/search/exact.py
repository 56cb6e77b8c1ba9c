"""Exact inner-product search in blocks: a fast first pass that may round, and a proof that it lost nothing.

Shape legend: l labels, q queries, D dimensions, k results a query, c candidates of the first pass (c > k).

The first pass multiplies in bf16 where the machine is fast at it, else in fp32, and keeps c candidates a
query. Those are scored anew in float64. How far a first-pass score can be from the true one is bounded from
the rounding of the inputs themselves (Cauchy-Schwarz), so it is known for each query whether a dropped label
could have been among the best k. Where it could, all labels within the bound are scored. So the result is
that of a float64 search, whatever the block sizes, the precision and the number of threads, at the speed of
the first pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from lmteach.machine import Precision, has_fast_bf16
from lmteach.search.protocol import Ids, Vectors
from lmteach.search.vectors import checked_labels, checked_queries

_QUERY_ROWS = 1024
_LABEL_ROWS = 16384  # a block of scores is at most 1024 x 16384: 64 MB in fp32
_RESCORE_ELEMENTS = 1 << 18  # gathered floats held at a time: they stay in the cache

Mode = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class _Candidates:
    """What the first pass kept, in no order; `dropped_q` bounds the first-pass score of all it dropped."""

    ids_qc: torch.Tensor
    dropped_q: torch.Tensor


class ExactIndex:
    """Label vectors, ready for exact search.

    Args:
        vectors_lD: the label vectors; row number = label id. Kept, not copied, where they are float32.
        precision: of the first pass; `auto` takes the faster one. It never changes what is found.
        device: a torch device, `cpu` by default.

    Raises:
        LmteachError: empty, not finite, or not two-dimensional vectors.
    """

    def __init__(self, vectors_lD: Vectors, *, precision: Precision = "auto", device: str = "cpu") -> None:
        self.vectors_lD = checked_labels(vectors_lD)
        self._device = torch.device(device)
        self._labels_lD = torch.from_numpy(self.vectors_lD).to(self._device)
        self.mode: Mode = _choose_mode(precision, device)
        self._rounded_lD = self._labels_lD.bfloat16() if self.mode == "bf16" else self._labels_lD
        self._label_norm, self._label_error = _greatest_norms(self._labels_lD, self._rounded_lD)
        self.n_proof_failures = 0

    def __len__(self) -> int:
        return len(self.vectors_lD)

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        """Return (ids_qk, scores_qk), best first, min(k, l) columns; of equal scores the lower id first.

        Raises:
            LmteachError: queries that do not fit the labels or are not finite; k below 1.
        """
        queries_qD = checked_queries(queries_qD, self.vectors_lD.shape[1], k)
        k = min(k, len(self))
        ids_qk = np.empty((len(queries_qD), k), dtype=np.int64)
        scores_qk = np.empty((len(queries_qD), k), dtype=np.float32)
        with torch.inference_mode(), _full_fp32():
            for start in range(0, len(queries_qD), _QUERY_ROWS):
                rows = slice(start, start + _QUERY_ROWS)
                block_qD = torch.from_numpy(queries_qD[rows]).to(self._device)
                ids_qk[rows], scores_qk[rows] = self._search_block(block_qD, k)
        return ids_qk, scores_qk

    def _search_block(self, queries_qD: torch.Tensor, k: int) -> tuple[Ids, Vectors]:
        rounded_qD = queries_qD.to(self._rounded_lD.dtype)
        candidates = self._first_pass(rounded_qD, k)
        ids_qk, scores_qk = _best(candidates.ids_qc, self._scores(queries_qD, candidates.ids_qc), k)
        if candidates.ids_qc.shape[1] < len(self):
            margin_q = self._margin(queries_qD, rounded_qD, candidates.dropped_q)
            unproven = (scores_qk[:, -1] <= candidates.dropped_q + margin_q).nonzero()[:, 0]
            self.n_proof_failures += len(unproven)
            if len(unproven):
                again = self._search_wide(queries_qD[unproven], scores_qk[unproven, -1], k)
                ids_qk[unproven], scores_qk[unproven] = again
        return ids_qk.cpu().numpy(), scores_qk.float().cpu().numpy()

    def _first_pass(self, rounded_qD: torch.Tensor, k: int) -> _Candidates:
        n_candidates = min(len(self), k + max(24, k // 2))
        scores_qc = ids_qc = None
        for start, labels_bD in _blocks(self._rounded_lD):
            best = (rounded_qD @ labels_bD.T).topk(min(n_candidates, len(labels_bD)), dim=1)
            block_scores, block_ids = best.values, best.indices + start
            if scores_qc is None or ids_qc is None:
                scores_qc, ids_qc = block_scores, block_ids
                continue
            scores_qc, ids_qc = torch.cat([scores_qc, block_scores], 1), torch.cat([ids_qc, block_ids], 1)
            best = scores_qc.topk(min(n_candidates, scores_qc.shape[1]), dim=1)
            scores_qc, ids_qc = best.values, ids_qc.gather(1, best.indices)
        assert scores_qc is not None
        assert ids_qc is not None
        return _Candidates(ids_qc, scores_qc[:, -1].double())

    def _search_wide(
        self,
        queries_qD: torch.Tensor,
        floors_q: torch.Tensor,
        k: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Search queries whose first pass proves nothing, by scoring every label that may reach `floors_q`.

        `floors_q` are lower bounds of the k-th best scores: k labels are known to reach them.
        """
        norms_q = torch.linalg.vector_norm(queries_qD.double(), dim=1)
        floors_q = floors_q - self._summing_error * norms_q * self._label_norm
        floors_q1 = torch.nextafter(floors_q.float(), torch.tensor(-torch.inf, device=floors_q.device))[
            :, None
        ]
        rows, ids = [], []
        # Room for one block's scores, kept: made anew beside the few ids that stay of each, it would leave holes in
        # memory that no later block fits into (1.4 GB of them over a million labels).
        n_rows = min(len(self), _LABEL_ROWS)
        scores_qb = queries_qD.new_empty(len(queries_qD), n_rows)
        reach_qb = torch.empty(scores_qb.shape, dtype=torch.bool, device=scores_qb.device)
        for start, labels_bD in _blocks(self._labels_lD):
            if len(labels_bD) < n_rows:  # the last one
                scores_qb, reach_qb = scores_qb[:, : len(labels_bD)], reach_qb[:, : len(labels_bD)]
            torch.mm(queries_qD, labels_bD.T, out=scores_qb)
            torch.ge(scores_qb, floors_q1, out=reach_qb)
            here, own = np.nonzero(reach_qb.cpu().numpy())
            rows.append(here)
            ids.append(own + start)
        results = []
        for row, ids_1c in enumerate(_by_row(np.concatenate(rows), np.concatenate(ids), len(queries_qD))):
            ids_1c = ids_1c.to(queries_qD.device)[None]
            results.append(_best(ids_1c, self._scores(queries_qD[row : row + 1], ids_1c), k))
        return torch.cat([ids for ids, _ in results]), torch.cat([scores for _, scores in results])

    def _scores(self, queries_qD: torch.Tensor, ids_qc: torch.Tensor) -> torch.Tensor:
        """Return [q, c] float64 inner products, each summed in the same order wherever it stands."""
        scores_qc = torch.empty(ids_qc.shape, dtype=torch.float64, device=ids_qc.device)
        rows = max(1, _RESCORE_ELEMENTS // (ids_qc.shape[1] * queries_qD.shape[1]))
        columns = max(1, _RESCORE_ELEMENTS // queries_qD.shape[1])
        for start in range(0, len(ids_qc), rows):
            queries = queries_qD[start : start + rows, None, :].double()
            for left in range(0, ids_qc.shape[1], columns):
                place = slice(start, start + rows), slice(left, left + columns)
                scores_qc[place] = (self._labels_lD[ids_qc[place]] * queries).sum(-1)
        # To fp32 and back: labels with equal vectors tie exactly, and ids then decide.
        return scores_qc.float().double()

    def _margin(
        self,
        queries_qD: torch.Tensor,
        rounded_qD: torch.Tensor,
        dropped_q: torch.Tensor,
    ) -> torch.Tensor:
        """Return [q], how much a dropped label's true score can exceed its first-pass score."""
        exact_qD = queries_qD.double()
        norms_q: torch.Tensor = torch.linalg.vector_norm(exact_qD, dim=1)
        margin_q = self._summing_error * norms_q * self._label_norm
        if self.mode == "bf16":
            errors_q = torch.linalg.vector_norm(exact_qD - rounded_qD.double(), dim=1)
            margin_q += errors_q * (self._label_norm + self._label_error) + norms_q * self._label_error
            margin_q += dropped_q.abs() * 2.0**-8  # the product itself is rounded to bf16
        return margin_q

    @property
    def _summing_error(self) -> float:
        """Return the greatest error of an fp32 sum of D products, as a share of the norms' product."""
        return float(self.vectors_lD.shape[1] + 8) * 2.0**-23


def _choose_mode(precision: Precision, device: str) -> Mode:
    # On a GPU fp32 is fast enough, and its bf16 products may be summed in bf16, which no bound here covers.
    if device != "cpu":
        return "fp32"
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


def _greatest_norms(labels_lD: torch.Tensor, rounded_lD: torch.Tensor) -> tuple[float, float]:
    """Return the greatest norm of a label, and of what rounding changed of one."""
    norm = error = 0.0
    for start, labels_bD in _blocks(labels_lD):
        exact_bD = labels_bD.double()
        changed_bD = exact_bD - rounded_lD[start : start + len(labels_bD)].double()
        norm = max(norm, float(torch.linalg.vector_norm(exact_bD, dim=1).max()))
        error = max(error, float(torch.linalg.vector_norm(changed_bD, dim=1).max()))
    return norm, error


def _best(ids_qc: torch.Tensor, scores_qc: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k best candidates of each query, best first, of equal scores the lower id first."""
    by_id = ids_qc.sort(dim=1)
    scores_qc = scores_qc.gather(1, by_id.indices)
    by_score = scores_qc.sort(dim=1, descending=True, stable=True)
    return by_id.values.gather(1, by_score.indices[:, :k]), by_score.values[:, :k]


def _blocks(rows_lD: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    for start in range(0, len(rows_lD), _LABEL_ROWS):
        yield start, rows_lD[start : start + _LABEL_ROWS]


def _by_row(rows_n: Ids, ids_n: Ids, n_rows: int) -> tuple[torch.Tensor, ...]:
    """Return the ids of each row, ascending."""
    order = np.lexsort((ids_n, rows_n))
    return torch.split(torch.from_numpy(ids_n[order]), np.bincount(rows_n, minlength=n_rows).tolist())


@contextmanager
def _full_fp32() -> Iterator[None]:
    """Multiply fp32 in fp32, whatever coarser precision the program has set for its training."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
