"""Work divided among ranks: each asks its own teacher about its documents, and encodes its part of texts.

Shape legend: n documents, k candidates of each, m of the documents on one rank, D dimensions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.dealing import deal
from lmteach.teaching.annotator import AnnotatedBatch
from lmteach.teaching.cost import Budget, Counters, Spent
from lmteach.tracking.arrays import read_arrays, write_arrays
from lmteach.tracking.run_folder import read_json, write_json
from lmteach.types import Judgement, Usage

if TYPE_CHECKING:
    from lmteach.curriculum.context import RunContext
    from lmteach.curriculum.ranks import Ranks

Vectors = npt.NDArray[np.float32]
Annotate = Callable[[Sequence[Judgement], Budget, Callable[[], None]], AnnotatedBatch]


class Part(Sequence[Judgement]):
    """Some of many judgements, built one by one."""

    def __init__(self, whole: Sequence[Judgement], rows: npt.NDArray[np.int64]) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        return (
            [self[j] for j in range(*i.indices(len(self)))]
            if isinstance(i, slice)
            else self.whole[self.rows[i]]
        )


def ask_in_parts(context: RunContext, judgements: Sequence[Judgement], annotate: Annotate) -> AnnotatedBatch:
    """Have every rank annotate its part within its share of the budget; return the whole on all ranks.

    The context's counters and what its budget has spent are those of all ranks together afterwards.

    Args:
        annotate: called with this rank's judgements, its budget, and what keeps what it has spent so far.
    """
    ranks = context.ranks
    rows = [part[0] for part in deal([(j.document for j in judgements)], [ranks.n])]
    budget, before = context.budget.share(ranks.rank, ranks.n), context.counters.copy()
    kept = SpentPart(context.spent_path, ranks.rank, dataclasses.replace(context.budget.spent))
    said = annotate(Part(judgements, rows[ranks.rank]), budget, lambda: kept.save(budget.spent))
    path = ranks.scratch / f"answers-{ranks.n_calls}-{{}}.npz"
    _write(Path(str(path).format(ranks.rank)), said)
    mine: dict[str, Any] = {
        "counters": dataclasses.asdict(context.counters - before),
        "spent": budget.spent.as_dict(),
        "stopped_by": said.stopped_by,
        "details": dict(said.details),
        "seconds": said.seconds,
    }
    told = ranks.collect(mine)
    whole = _read_all([Path(str(path).format(rank)) for rank in range(ranks.n)], rows, len(judgements))
    ranks.barrier()
    Path(str(path).format(ranks.rank)).unlink(missing_ok=True)
    _add(context.counters, [t["counters"] for i, t in enumerate(told) if i != ranks.rank])
    context.budget.spent = total_spent(context.budget.spent, [t["spent"] for t in told])
    context.save_spent()
    ranks.barrier()
    weights = np.array([len(part) for part in rows], dtype=np.float64)
    names = dict.fromkeys(name for t in told for name in t["details"])
    means = {name: [t["details"].get(name, np.nan) for t in told] for name in names}
    return AnnotatedBatch(
        *whole,
        counters=context.counters - before,
        details={name: _weighted(np.array(values), weights) for name, values in means.items()},
        stopped_by=_capped_by(context.budget, next((t["stopped_by"] for t in told if t["stopped_by"]), None)),
        seconds=max(t["seconds"] for t in told),
    )


def encode_in_parts(
    ranks: Ranks, n: int, encode: Callable[[slice], Vectors], room: Callable[[int], Vectors]
) -> Vectors:
    """Have every rank encode its part of n texts; return all vectors [n, D] on the first rank, its part on others.

    Args:
        encode: some of the texts to their vectors.
        room: an array [n, D] to write to, given D.
    """
    bounds = [n * rank // ranks.n for rank in range(ranks.n + 1)]
    mine_mD = encode(slice(bounds[ranks.rank], bounds[ranks.rank + 1]))
    if ranks.n == 1:
        return mine_mD
    names = [ranks.scratch / f"vectors-{ranks.n_calls}-{rank}.npy" for rank in range(ranks.n)]
    if not ranks.is_first:
        names[ranks.rank].parent.mkdir(parents=True, exist_ok=True)
        np.save(names[ranks.rank], mine_mD)
    ranks.barrier()
    if not ranks.is_first:
        return mine_mD
    all_nD = room(mine_mD.shape[1])
    all_nD[: bounds[1]] = mine_mD
    for rank in range(1, ranks.n):
        all_nD[bounds[rank] : bounds[rank + 1]] = np.load(names[rank], mmap_mode="r", allow_pickle=False)
        names[rank].unlink()
    return all_nD


def _capped_by(budget: Budget, stopped_by: str | None) -> str | None:
    """Return the run's own cap for that of a rank's share."""
    if stopped_by is None:
        return None
    key = stopped_by.removeprefix("budget.").partition(" ")[0]
    return f"budget.{key} = {getattr(budget, key)}"


@dataclasses.dataclass(frozen=True)
class SpentPart:
    """What one rank has spent of a stage, kept beside what the run had spent before it.

    Where the run's file has moved on since, the stage is part of it, and this one is stale.
    """

    path: Path | None
    rank: int
    since: Spent

    def save(self, spent: Spent) -> None:
        """Write it whole."""
        if self.path is not None:
            content = {"since": self.since.as_dict(), "spent": spent.as_dict()}
            write_json(self.path.with_name(f"spent-{self.rank:03d}.json"), content)


def restore_spent(path: Path) -> Spent:
    """Return what a run has spent before it was killed, the ranks' unfinished stage included."""
    spent = Spent(**read_json(path)) if path.is_file() else Spent()
    parts = [read_json(part) for part in sorted(path.parent.glob("spent-[0-9][0-9][0-9].json"))]
    return total_spent(spent, [p["spent"] for p in parts if p["since"] == spent.as_dict()])


def total_spent(before: Spent, parts: Sequence[dict[str, Any]]) -> Spent:
    """Return what is spent in all: hours are the longest rank's, since they went by together."""
    sums = {name: sum(part[name] for part in parts) for name in ("judgements", "tokens", "usd")}
    return Spent(
        before.judgements + sums["judgements"],
        before.tokens + sums["tokens"],
        before.usd + sums["usd"],
        before.hours + max((part["hours"] for part in parts), default=0.0),
    )


def _add(counters: Counters, others: Sequence[dict[str, Any]]) -> None:
    for other in others:
        counters.made += other["made"]
        counters.from_store += other["from_store"]
        counters.unread += other["unread"]
        counters.usage = counters.usage + Usage(**other["usage"])


def _write(path: Path, said: AnnotatedBatch) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, {"scores": said.scores_nk, "judged": said.judged_nk})


def _read_all(
    paths: Sequence[Path], rows: Sequence[npt.NDArray[np.int64]], n: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Put the ranks' answers together in the input's order."""
    parts = []
    for path in paths:
        with read_arrays(path, "Another rank's answers", "Resume the run.") as file:
            parts.append((file["scores"], file["judged"]))
    k = max(scores_mk.shape[1] for scores_mk, _ in parts)
    scores_nk = np.full((n, k), np.nan, dtype=np.float32)
    judged_nk = np.zeros((n, k), dtype=np.bool_)
    for mine, (scores_mk, judged_mk) in zip(rows, parts, strict=True):
        scores_nk[mine, : scores_mk.shape[1]] = scores_mk
        judged_nk[mine, : judged_mk.shape[1]] = judged_mk
    return scores_nk, judged_nk


def _weighted(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    known = np.isfinite(values)
    return float(np.average(values[known], weights=weights[known])) if weights[known].sum() else float("nan")
