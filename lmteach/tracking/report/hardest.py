"""The test documents that a student gets most wrong, the surest mistakes first.

Shape legend: n documents, m of them with gold, k places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmteach.tracking.test_scores import TestScores

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus

EXCERPT = 420  # characters of a text
SHOWN = 5  # tags of a document
PREFERRED = ("ndcg@5", "ndcg@3", "ndcg@10", "ndcg@1", "accuracy")


@dataclass(frozen=True)
class Tag:
    """A label that a student gave."""

    name: str
    score: float
    right: bool


@dataclass(frozen=True)
class HardDocument:
    """A document, what a student says of it, and what is right. Texts are "" without the corpus."""

    row: int
    id: str
    title: str
    text: str
    value: float
    metric: str
    tags: list[Tag]
    gold: list[str]


def find_hardest(scores: TestScores, corpus: Corpus | None, n: int) -> list[HardDocument]:
    """Return the n documents on which the kept student scores least.

    Equally bad ones are in order of the student's score of its first tag, highest first: those it is sure of.
    """
    values, ids = scores.values.get(scores.chosen, {}), scores.label_ids.get(scores.chosen)
    metric = next((name for name in (*PREFERRED, *values) if name in values), None)
    if metric is None or ids is None or not len(scores.rows_m):
        return []
    value_m = values[metric].numerators
    sure_m = scores.scores[scores.chosen][scores.rows_m, 0]
    chosen = np.lexsort((scores.rows_m, -sure_m, value_m))[:n]
    test = None if corpus is None else corpus.test
    names = None if corpus is None else corpus.labels.names

    def name_of(label_id: int) -> str:
        return f"label {label_id}" if names is None else names[label_id]

    found = []
    for place in chosen.tolist():
        row = int(scores.rows_m[place])
        gold = scores.gold.of(row).tolist()
        ranked = zip(ids[row, :SHOWN].tolist(), scores.scores[scores.chosen][row].tolist(), strict=False)
        found.append(
            HardDocument(
                row=row,
                id="" if test is None else test.ids[row],
                title="" if test is None else test.titles([row])[0],
                text="" if test is None else excerpt(test.texts([row])[0], EXCERPT),
                value=float(value_m[place]),
                metric=metric,
                tags=[Tag(name_of(i), float(score), i in gold) for i, score in ranked if i >= 0],
                gold=[name_of(i) for i in gold],
            )
        )
    return found


def excerpt(text: str, n: int) -> str:
    """Return the first n characters of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= n else line[: n - 1].rstrip() + "…"
