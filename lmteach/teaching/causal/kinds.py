"""The four kinds of prompt on a causal model: judgements to requests, and what is read to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol

import torch

from lmteach.errors import TeacherError
from lmteach.teaching.answers import NO, YES, single_token_ids, spellings
from lmteach.teaching.causal.frame import Frame
from lmteach.teaching.causal.request import Request, Tokens
from lmteach.teaching.causal.scorer import Scorer
from lmteach.teaching.listing import agreement, shuffled_groups
from lmteach.teaching.prompts import LETTERS, Prompt, enumerate_candidates
from lmteach.types import Judgement

Normalisation = Literal["mean", "sum"]


@dataclass(frozen=True)
class Scored:
    """One judgement's scores, the tokens read for it, and numbers about it."""

    scores: tuple[float | None, ...]
    n_tokens: int
    details: Mapping[str, float] = field(default_factory=dict)


class Kind(Protocol):
    """One kind of prompt."""

    def count(self, judgements: Sequence[Judgement]) -> list[int]:
        """Return the tokens that each judgement makes the model read. Needs the tokenizer alone."""

    def score(self, scorer: Scorer, judgements: Sequence[Judgement]) -> list[Scored]:
        """Return each judgement's scores."""


@dataclass(frozen=True)
class Cuts:
    """Lengths at which other people's texts are cut, in tokens."""

    document: int = 430
    candidate: int = 64


def make_kind(tokenizer: Any, prompt: Prompt, cuts: Cuts, normalisation: Normalisation) -> Kind:
    """Return the kind that a prompt asks for."""
    if prompt.kind == "pointwise":
        return Pointwise(tokenizer, prompt, cuts)
    if prompt.kind == "likelihood":
        return Likelihood(tokenizer, prompt, cuts, normalisation)
    if prompt.kind == "listwise":
        return Listwise(tokenizer, prompt, cuts)
    return Choice(tokenizer, prompt, cuts)


class Pointwise:
    """Log-odds of yes against no, over every single token that spells either."""

    def __init__(self, tokenizer: Any, prompt: Prompt, cuts: Cuts) -> None:
        self._frame = Frame(tokenizer, prompt, cuts.document, cuts.candidate)
        self._yes, self._no = (single_token_ids(tokenizer, word) for word in (YES, NO))
        if not self._yes or not self._no:
            raise TeacherError(
                "The model's vocabulary has no single token for yes or no.", mend="Use likelihood."
            )

    def requests(self, judgements: Sequence[Judgement]) -> list[Request]:
        """Return one request a judgement: the document once, each candidate with the question's rest."""
        prefixes = self._frame.documents([j.document for j in judgements])
        return [
            Request(
                prefix,
                tuple(ids + self._frame.tail for ids in self._frame.candidates(j.described)),
                n_preamble=self._frame.n_preamble,
            )
            for prefix, j in zip(prefixes, judgements, strict=True)
        ]

    def count(self, judgements: Sequence[Judgement]) -> list[int]:
        """See `Kind`."""
        return [request.n_tokens for request in self.requests(judgements)]

    def score(self, scorer: Scorer, judgements: Sequence[Judgement]) -> list[Scored]:
        """See `Kind`."""
        requests = self.requests(judgements)
        scored = []
        for request, logits in zip(requests, scorer.rows(requests, self._yes + self._no), strict=True):
            odds = logits[:, : len(self._yes)].logsumexp(1) - logits[:, len(self._yes) :].logsumexp(1)
            scored.append(Scored(tuple(odds.tolist()), request.n_tokens))
        return scored


class Likelihood:
    """log P(candidate | document) - log P(candidate | no document), summed or the mean per token.

    The second part is computed once a candidate and kept.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, cuts: Cuts, normalisation: Normalisation) -> None:
        self._frame = Frame(tokenizer, prompt, cuts.document, cuts.candidate)
        self._mean = normalisation == "mean"
        self._without = self._frame.documents([prompt.without_document])[0]
        self._known: dict[Tokens, float] = {}

    def count(self, judgements: Sequence[Judgement]) -> list[int]:
        """See `Kind`; a candidate's part without a document counts where it is first met."""
        prefixes, labels = self._tokens(judgements)
        met = set(self._known)
        counts = []
        for prefix, own in zip(prefixes, labels, strict=True):
            new = {label for label in own if label and label not in met}
            met |= new
            read = sum(len(label) - 1 for label in own if label) + sum(len(label) - 1 for label in new)
            counts.append(len(prefix) - self._frame.n_preamble + read)
        return counts

    def _tokens(self, judgements: Sequence[Judgement]) -> tuple[list[Tokens], list[list[Tokens]]]:
        prefixes = self._frame.documents([j.document for j in judgements])
        return prefixes, [self._frame.candidates(j.candidates) for j in judgements]

    def score(self, scorer: Scorer, judgements: Sequence[Judgement]) -> list[Scored]:
        """See `Kind`. A candidate without a single token cannot be read."""
        counts = self.count(judgements)
        prefixes, labels = self._tokens(judgements)
        readable = [[label for label in own if label] for own in labels]
        self._learn(scorer, sorted({label for own in readable for label in own}))
        asked = [i for i, own in enumerate(readable) if own]
        found = scorer.log_probs([self._request(prefixes[i], readable[i]) for i in asked])
        by_judgement = dict(zip(asked, map(iter, found), strict=True))
        scored = []
        for i, own in enumerate(labels):
            gains = [self._gain(label, next(by_judgement[i])) if label else None for label in own]
            scored.append(Scored(tuple(gains), counts[i]))
        return scored

    def _learn(self, scorer: Scorer, labels: Sequence[Tokens]) -> None:
        new = [label for label in labels if label not in self._known]
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            (found,) = scorer.log_probs([self._request(self._without, part)])
            self._known.update(zip(part, found, strict=True))

    def _request(self, prefix: Tokens, labels: Sequence[Tokens]) -> Request:
        return Request(prefix, tuple(labels), n_preamble=self._frame.n_preamble)

    def _gain(self, label: Tokens, log_prob: float) -> float:
        gain = log_prob - self._known[label]
        return gain / len(label) if self._mean else gain


class Choice:
    """Log-probability of each candidate as the whole answer, normalised over the candidates."""

    def __init__(self, tokenizer: Any, prompt: Prompt, cuts: Cuts) -> None:
        self._end = _end_of_answer(tokenizer)
        self._listed = prompt.lists_candidates

        @lru_cache(maxsize=256)
        def frame(candidates: tuple[str, ...]) -> Frame:
            return Frame(tokenizer, prompt, cuts.document, cuts.candidate, candidates)

        self._frame = frame

    def _ask(self, judgement: Judgement) -> tuple[Request, list[int]]:
        """Return the request, and how many of its suffixes spell each candidate."""
        frame = self._frame(judgement.described if self._listed else ())
        names = [spellings(candidate) for candidate in judgement.candidates]
        spelled = [[ids for ids in frame.candidates(variants) if ids] for variants in names]
        flat = [ids for own in spelled for ids in own]
        # Where one answer begins another, only its end tells them apart.
        if any(a != b and b[: len(a)] == a for a in flat for b in flat):
            spelled = [[ids + self._end for ids in own] for own in spelled]
        unique = [list(dict.fromkeys(own)) for own in spelled]
        (prefix,) = frame.documents([judgement.document])
        suffixes = tuple(ids for own in unique for ids in own)
        return Request(prefix, suffixes, n_preamble=frame.n_preamble), [len(own) for own in unique]

    def count(self, judgements: Sequence[Judgement]) -> list[int]:
        """See `Kind`."""
        return [_n_judged(self._ask(judgement)[0]) for judgement in judgements]

    def score(self, scorer: Scorer, judgements: Sequence[Judgement]) -> list[Scored]:
        """See `Kind`. A candidate without a single token cannot be read."""
        asked = [self._ask(judgement) for judgement in judgements]
        some = [request for request, _ in asked if request.suffixes]
        found = iter(scorer.log_probs(some))
        scored = []
        for request, n_spellings in asked:
            values = torch.tensor(next(found) if request.suffixes else [])
            sums = torch.stack([torch.logsumexp(own, 0) for own in torch.split(values, n_spellings)])
            log_probs = torch.log_softmax(sums, 0).tolist()
            scores = tuple(p if n else None for p, n in zip(log_probs, n_spellings, strict=True))
            scored.append(Scored(scores, _n_judged(request)))
        return scored


def _n_judged(request: Request) -> int:
    """Return the tokens read for labels, the last of which is judged and not read."""
    return request.n_tokens - sum(1 for suffix in request.suffixes if suffix)


def _end_of_answer(tokenizer: Any) -> Tokens:
    return (tokenizer.eos_token_id,) if tokenizer.eos_token_id is not None else ()


class Listwise:
    """All candidates in one prompt: log-odds of each one's letter against "none of these".

    Models prefer some places in a list, so it is asked twice: in a shuffled order and in its reverse, where
    each candidate's mean place is the same. The score is the mean; `consistency` in the details is the share
    of pairs of candidates that both orders rank alike. More candidates than letters go in several lists.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, cuts: Cuts) -> None:
        self._frame = Frame(tokenizer, prompt, cuts.document, cuts.candidate)
        self._letters = [single_token_ids(tokenizer, letter) for letter in LETTERS]
        if not all(self._letters):
            raise TeacherError("The model's vocabulary lacks single letters.", mend="Use pointwise.")

    def _ask(self, judgement: Judgement) -> tuple[list[list[int]], tuple[Tokens, ...]]:
        """Return the orders asked for (positions of candidates), and each one's suffix."""
        orders = []
        for group in shuffled_groups(judgement):
            orders += [group, group[::-1]]
        texts = [enumerate_candidates([_line(judgement.described[i]) for i in order]) for order in orders]
        return orders, tuple(ids + self._frame.tail for ids in self._frame.lists(texts))

    def _requests(self, judgements: Sequence[Judgement]) -> tuple[list[Request], list[list[list[int]]]]:
        prefixes = self._frame.documents([j.document for j in judgements])
        asked = [self._ask(j) for j in judgements]
        n_preamble = self._frame.n_preamble
        requests = [Request(p, s, n_preamble=n_preamble) for p, (_, s) in zip(prefixes, asked, strict=True)]
        return requests, [orders for orders, _ in asked]

    def count(self, judgements: Sequence[Judgement]) -> list[int]:
        """See `Kind`."""
        return [request.n_tokens for request in self._requests(judgements)[0]]

    def score(self, scorer: Scorer, judgements: Sequence[Judgement]) -> list[Scored]:
        """See `Kind`."""
        requests, orders = self._requests(judgements)
        token_ids = [id_ for letter in self._letters for id_ in letter]
        sizes = [len(letter) for letter in self._letters]
        scored = []
        for request, own, logits in zip(requests, orders, scorer.rows(requests, token_ids), strict=True):
            by_letter = torch.stack([part.logsumexp(1) for part in torch.split(logits, sizes, dim=1)], dim=1)
            halves = [[0.0] * sum(len(o) for o in own[::2]) for _ in range(2)]
            for row, order in enumerate(own):
                odds = by_letter[row, : len(order)] - by_letter[row, len(order)]
                for i, value in zip(order, odds.tolist(), strict=True):
                    halves[row % 2][i] = value
            scores = tuple((a + b) / 2 for a, b in zip(*halves, strict=True))
            scored.append(Scored(scores, request.n_tokens, {"consistency": agreement(*halves)}))
        return scored


def _line(candidate: str) -> str:
    return " ".join(candidate.split())
