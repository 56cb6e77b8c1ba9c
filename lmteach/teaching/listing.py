"""Lists of candidates in a fair order, for prompts that show all of them at once. Standard library only."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import pairwise

from lmteach.teaching.prompts import MAX_LISTED
from lmteach.types import Judgement


def shuffled_groups(judgement: Judgement, largest: int = MAX_LISTED) -> list[list[int]]:
    """Return the candidates' positions in an order that hangs on the judgement alone, cut into equal lists.

    Args:
        judgement: whose candidates are listed.
        largest: how many candidates one list may hold.
    """
    text = "\0".join((judgement.document, *judgement.questions))
    order = list(range(len(judgement.candidates)))
    random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()).shuffle(order)
    n_groups = max(1, -(-len(order) // largest))
    edges = [len(order) * i // n_groups for i in range(n_groups + 1)]
    return [order[a:b] for a, b in pairwise(edges)]


def agreement(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the share of pairs that both rank alike; 1 where there is no pair.

    >>> agreement([3, 2, 1], [3, 1, 2])
    0.6666666666666666
    """
    n = len(first)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    alike = sum((first[i] > first[j]) == (second[i] > second[j]) for i, j in pairs)
    return alike / len(pairs) if pairs else 1.0
