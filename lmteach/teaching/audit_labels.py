"""Where a teacher's verdicts are odd: labels it uses too often or too rarely, and single items in dispute.

Shape legend: n documents, k candidates of each, l labels, p pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.metrics.agreement import YES, average_ranks
from lmteach.teaching.audit import Verdicts

Floats = npt.NDArray[np.float64]

KINDS = ("yes, not gold", "gold, not yes", "teachers differ")


@dataclass(frozen=True)
class LabelUse:
    """How often the teacher affirmed a label, over the documents it was asked about it and could be read.

    Attributes:
        label_id: which.
        n_read: verdicts that could be read.
        n_yes: those that affirm it.
        expected: documents it is gold of; without gold, `n_read` times the teacher's yes-rate over all labels.
    """

    label_id: int
    n_read: int
    n_yes: int
    expected: float

    @property
    def excess(self) -> float:
        """How many more yes than expected."""
        return self.n_yes - self.expected


def by_label(verdicts: Verdicts) -> list[LabelUse]:
    """Count yes and gold of every label that was asked about, by label id."""
    read_nk = verdicts.read_nk
    ids_p = verdicts.label_ids_nk[read_nk].astype(np.int64)
    if not len(ids_p):
        return []
    yes_p = (verdicts.votes_nk == YES)[read_nk]
    n_read_l, n_yes_l = np.bincount(ids_p), np.bincount(ids_p, yes_p)
    right_p = None if verdicts.gold is None else verdicts.right_nk[read_nk]
    expected_l = n_read_l * yes_p.mean() if right_p is None else np.bincount(ids_p, right_p)
    return [
        LabelUse(i, int(n_read_l[i]), int(n_yes_l[i]), float(expected_l[i]))
        for i in np.flatnonzero(n_read_l).tolist()
    ]


def overused(uses: Sequence[LabelUse], n: int = 10) -> list[LabelUse]:
    """Return the labels with the most yes beyond what is expected."""
    return [use for use in sorted(uses, key=lambda u: (-u.excess, u.label_id)) if use.excess > 0][:n]


def underused(uses: Sequence[LabelUse], n: int = 10) -> list[LabelUse]:
    """Return the labels that lack the most yes."""
    return [use for use in sorted(uses, key=lambda u: (u.excess, u.label_id)) if use.excess < 0][:n]


@dataclass(frozen=True)
class Dispute:
    """One verdict worth a look: `row` and `place` say where it stands.

    `kind` is one of `KINDS`; `other` names the teacher that differs.
    """

    kind: str
    row: int
    place: int
    label_id: int
    score: float
    other: str = ""
    other_score: float | None = None


def find_disputes(
    verdicts: Verdicts, others: Sequence[tuple[str, Verdicts]] = (), n: int = 20
) -> list[Dispute]:
    """Return n items that gold or another teacher disputes, as evenly by kind as there are, the worst first.

    Worst is, against gold, the highest score of a wrong yes and the lowest of a right label; between teachers,
    the greatest distance between the places that each gives the pair among all its scores. A document stands
    once under each kind.

    Args:
        verdicts: those audited.
        others: by name, other teachers' on the same candidates.
        n: how many.
    """
    kinds: list[list[Dispute]] = []
    if verdicts.gold is not None:
        right_nk, yes_nk = verdicts.right_nk, verdicts.votes_nk == YES
        kinds.append(_ranked(verdicts, KINDS[0], yes_nk & ~right_nk, -verdicts.scores_nk))
        kinds.append(_ranked(verdicts, KINDS[1], verdicts.read_nk & ~yes_nk & right_nk, verdicts.scores_nk))
    between = [dispute for name, other in others for dispute in _between(verdicts, other, name)]
    kinds.append([dispute for dispute, _ in sorted(between, key=lambda pair: -pair[1])])
    chosen: list[Dispute] = []
    for turn in range(n):
        chosen += [kind[turn] for kind in kinds if turn < len(kind)]
    return sorted(chosen[:n], key=lambda dispute: KINDS.index(dispute.kind))


def _ranked(
    verdicts: Verdicts, kind: str, where_nk: npt.NDArray[np.bool_], key_nk: npt.NDArray[np.float32]
) -> list[Dispute]:
    rows, places = np.nonzero(where_nk)
    order = np.argsort(key_nk[rows, places], kind="stable")
    found, met = [], set()
    for row, place in zip(rows[order].tolist(), places[order].tolist(), strict=True):
        if row not in met:
            met.add(row)
            found.append(_dispute(verdicts, kind, row, place))
    return found


def _between(verdicts: Verdicts, other: Verdicts, name: str) -> list[tuple[Dispute, float]]:
    """Return the pairs about which two teachers say different words, with how far apart they are."""
    both_nk = verdicts.read_nk & other.read_nk
    differ_p = (verdicts.votes_nk != other.votes_nk)[both_nk]
    if not differ_p.any():
        return []
    apart_p = np.abs(_share_below(verdicts.scores_nk[both_nk]) - _share_below(other.scores_nk[both_nk]))
    rows, places = np.nonzero(both_nk)
    found: list[tuple[Dispute, float]] = []
    met: set[int] = set()
    for i in np.argsort(-np.where(differ_p, apart_p, -1), kind="stable").tolist():
        if not differ_p[i]:
            break
        row, place = int(rows[i]), int(places[i])
        if row not in met:
            met.add(row)
            score = float(other.scores_nk[row, place])
            found.append((_dispute(verdicts, KINDS[2], row, place, name, score), float(apart_p[i])))
    return found


def _share_below(scores_p: npt.NDArray[np.float32]) -> Floats:
    return average_ranks(scores_p.astype(np.float64)) / len(scores_p)


def _dispute(
    verdicts: Verdicts, kind: str, row: int, place: int, other: str = "", other_score: float | None = None
) -> Dispute:
    label_id, score = int(verdicts.label_ids_nk[row, place]), float(verdicts.scores_nk[row, place])
    return Dispute(kind, row, place, label_id, score, other, other_score)
