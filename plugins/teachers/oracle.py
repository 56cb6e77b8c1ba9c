"""The `oracle` teacher: gold labels with a set rate of error. The upper bound of the method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmteach.corpus.corpus import Corpus, Documents, Gold
from lmteach.errors import TeacherError
from lmteach.teaching.chance import chance
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Judgement, Scope, Verdict

SCORE = 5.0  # log-odds of a yes; a no is its negative


class OracleTeacher:
    """Says yes to gold labels and no to others, but for the errors it is told to make.

    Errors are a function of (seed, document, candidate), so the same question gets the same wrong answer in
    every cycle, run and order. It reads the gold of training and dev documents, of test documents only when
    their seal is broken. Scores are 5 or -5.
    """

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: oracle`.

        Attributes:
            noise: share of answers that are flipped, each by chance.
            systematic: share of labels that are misunderstood: every answer about them is flipped.
            one_class: documents have exactly one label, so an error is another one in its place, and `noise`
                the share of documents that get one; `systematic` counts the wrongly taken labels as before.
            misread: words that mislead: every document that holds one is answered wrongly, whatever the case.
                Such errors follow the content, as a language model's do, and a student can learn them.
            unread: share of answers that cannot be read.
            seed: decides which; None = the run's seed.
        """

        noise: float = 0.0
        systematic: float = 0.0
        unread: float = 0.0
        one_class: bool = False
        misread: list[str] = field(default_factory=list)
        seed: int | None = None

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        for key in ("noise", "systematic", "unread"):
            if not 0 <= getattr(config, key) <= 1:
                raise TeacherError("A share must lie between 0 and 1.", where=f"teacher.{key}")
        if resources.corpus is None or not resources.corpus.train.has_gold:
            raise TeacherError(
                "The oracle teacher needs a corpus with gold labels.",
                where="teacher.name",
                mend="Name a corpus that has them, or another teacher.",
            )
        self.config, self.corpus = config, resources.corpus
        self.seed = resources.seed if config.seed is None else config.seed
        self._gold = _GoldById(resources.corpus)
        words = "|".join(re.escape(word) for word in config.misread)
        self._misleads = re.compile(rf"\b(?:{words})\b", re.IGNORECASE) if words else None

    @property
    def identity(self) -> str:
        """The corpus and the errors."""
        c = self.config
        errors = f"noise={c.noise:g} systematic={c.systematic:g} unread={c.unread:g} seed={self.seed}"
        errors += " one_class" * c.one_class + (f" misread={'|'.join(c.misread)}" if c.misread else "")
        return f"oracle corpus={self.corpus.fingerprint[:16]} {errors}"

    @property
    def scope(self) -> Scope:
        """Never stored: it costs nothing."""
        return "none"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Answer by gold.

        Raises:
            TeacherError: a document or candidate is not of the corpus.
            RunError: the document's gold is under seal.
        """
        return [Verdict(tuple(self._answers(judgement))) for judgement in batch]

    def close(self) -> None:
        """Nothing to free."""

    def _answers(self, judgement: Judgement) -> list[float | None]:
        gold = self._gold.of(judgement)
        answers: list[float | None] = []
        ids = self._gold.label_ids(judgement)
        misled = self._misleads is not None and self._misleads.search(judgement.document) is not None
        if self.config.one_class:
            return self._one_class(judgement, ids, gold, misled)
        for candidate, label_id in zip(judgement.candidates, ids, strict=True):
            yes = label_id in gold
            if chance(self.seed, "label", candidate) < self.config.systematic:
                yes = not yes
            if chance(self.seed, "noise", judgement.document, candidate) < self.config.noise:
                yes = not yes
            yes = yes != misled
            unread = chance(self.seed, "unread", judgement.document, candidate) < self.config.unread
            answers.append(None if unread else SCORE if yes else -SCORE)
        return answers

    def _one_class(
        self, judgement: Judgement, ids: Sequence[int], gold: frozenset[int], misled: bool
    ) -> list[float | None]:
        """Say yes to one candidate: the gold one, or by error one of the others."""
        if chance(self.seed, "unread", judgement.document) < self.config.unread:
            return [None] * len(ids)
        right = next((i for i, label_id in enumerate(ids) if label_id in gold), None)
        misunderstood = (
            right is not None
            and chance(self.seed, "label", judgement.candidates[right]) < self.config.systematic
        )
        wrong = chance(self.seed, "noise", judgement.document) < self.config.noise
        said = right
        if (wrong or misled or misunderstood) and len(ids) > 1:
            others = [i for i in range(len(ids)) if i != right]
            said = others[int(chance(self.seed, "which", judgement.document) * len(others))]
        return [SCORE if i == said else -SCORE for i in range(len(ids))]


class _GoldById:
    """Finds a judgement's gold by its document id, by its text where splits share ids."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._index: dict[str, list[tuple[Documents, int]]] = {}
        self._gold: dict[int, Gold] = {}
        self._label_ids: dict[str, int] = {}

    def of(self, judgement: Judgement) -> frozenset[int]:
        places = self._places().get(judgement.document_id, [])
        if len(places) > 1:
            places = [(view, i) for view, i in places if view.texts([i])[0] == judgement.document]
        if not places:
            raise TeacherError(f"The oracle's corpus has no document '{judgement.document_id}' of this text.")
        view, i = places[0]
        if id(view) not in self._gold:
            self._gold[id(view)] = view.gold_for_oracle()
        return frozenset(self._gold[id(view)].of(i).tolist())

    def label_ids(self, judgement: Judgement) -> Sequence[int]:
        if judgement.label_ids:
            return judgement.label_ids
        if not self._label_ids:
            self._label_ids = {text: i for i, text in enumerate(self._corpus.labels.texts)}
        try:
            return [self._label_ids[candidate] for candidate in judgement.candidates]
        except KeyError as error:
            raise TeacherError(f"The candidate {error} is no label of the corpus.") from error

    def _places(self) -> dict[str, list[tuple[Documents, int]]]:
        if not self._index:
            extra = (
                self._corpus.extra if self._corpus.extra is not None and self._corpus.extra.has_gold else None
            )
            for view in (self._corpus.train, self._corpus.dev, self._corpus.test, extra):
                for i, document_id in enumerate(view.ids if view is not None else ()):
                    assert view is not None
                    self._index.setdefault(document_id, []).append((view, i))
        return self._index
