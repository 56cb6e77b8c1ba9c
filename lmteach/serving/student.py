"""A trained student in Python: `load_student(path).predict(texts, top_k=5)`.

Light: an exported ONNX student is loaded and used without torch. Shape legend: n texts, k labels a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmteach.errors import LmteachError
from lmteach.serving.about import About
from lmteach.serving.thresholds import check_name
from lmteach.students.label_set import current_folder
from lmteach.students.tags import Tags

if TYPE_CHECKING:
    from lmteach.search.protocol import Vectors
    from lmteach.students.protocol import Kind


class StudentAtWork(Protocol):
    """A tagger or classifier, whatever computes it."""

    @property
    def names(self) -> Sequence[str]: ...

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]: ...


class Student:
    """A student at work, with probabilities and thresholds.

    Args:
        inner: the tagger or classifier.
        about: what its folder says of it.
        folder: where it and its label set lie.
        backend: `onnx` or `torch`.
    """

    def __init__(self, inner: Any, about: About, folder: Path, backend: str) -> None:
        self.inner: Any = inner
        self.about, self.folder, self.backend = about, folder, backend
        self._labels = current_folder(folder)
        self._threshold: str | float | None = None

    @property
    def kind(self) -> str:
        """`tagger` or `classifier`."""
        return self.about.kind

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels it knows."""
        return tuple(self.inner.names)

    @property
    def thresholds(self) -> dict[str, float]:
        """The named thresholds that were fitted, as probabilities where there are any, else as scores."""
        calibration = self.about.calibration
        if calibration is None:
            return {}
        found = {name: score for name, score in calibration.thresholds.items() if score is not None}
        values = calibration.probabilities(list(found.values())).tolist()
        return dict(zip(found, values, strict=True))

    def predict(
        self, texts: Sequence[str], top_k: int = 5, threshold: str | float | None = None
    ) -> list[Tags]:
        """Return the best labels of each text, best first, with scores and, where calibrated, probabilities.

        Args:
            texts: any number of them; they are sorted by length and encoded in large batches.
            top_k: labels a text at most.
            threshold: decides how many of them a text keeps, perhaps none: `f1`, `precision` or `recall` as fitted
                on dev documents, or a probability between 0 and 1. None keeps all `top_k`, unless `with_threshold`
                said otherwise.

        Raises:
            LmteachError: a wrong argument, or a threshold that this student does not have.
        """
        if isinstance(texts, str):
            raise LmteachError("predict takes a list of texts, not one text.", mend="Write predict([text]).")
        if top_k < 1:
            raise LmteachError(f"top_k is {top_k}; it must be 1 or more.")
        least = self.check_threshold(self._threshold if threshold is None else threshold)
        found = [self._with_probabilities(tags) for tags in self.inner.predict(list(texts), top_k)]
        return found if least is None else [keep_above(tags, *least) for tags in found]

    def with_threshold(self, threshold: str | float | None) -> Student:
        """Return the same student with another threshold for calls that name none.

        Raises:
            LmteachError: this student does not have it.
        """
        self.check_threshold(threshold)
        other = Student(self.inner, self.about, self.folder, self.backend)
        other._threshold = threshold
        return other

    def check_threshold(self, threshold: str | float | None) -> tuple[str, float] | None:
        """Return what a tag is compared by (`score` or `probability`) and its least value; None = no threshold.

        Raises:
            LmteachError: this student has no such threshold.
        """
        if threshold is None:
            return None
        if isinstance(threshold, str):
            check_name(threshold)
            if self.about.calibration is None:
                raise LmteachError(
                    f"This student has no threshold '{threshold}': there was nothing to fit one on.",
                    where=str(self.folder),
                    mend="Fit it with `lmteach export RUN --to DIR --dev LABELLED.jsonl`.",
                )
            return "score", self.about.calibration.least_score(threshold)
        if isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise LmteachError(f"The threshold is {threshold}; a probability lies between 0 and 1.")
        if self.about.calibration is None and self.kind == "tagger":
            raise LmteachError(
                "This student gives no probabilities: there was nothing to fit them on.",
                where=str(self.folder),
            )
        return "probability", float(threshold)

    def encode(self, texts: Sequence[str], kind: Kind = "search") -> Vectors:
        """Return the normalised vectors [n, D] of documents (`search`) or labels (`label`); taggers only."""
        if self.kind != "tagger":
            raise LmteachError("A classifier gives no vectors.", where=str(self.folder))
        vectors: Vectors = self.inner.encode(list(texts), kind)
        return vectors

    def labels_changed(self) -> bool:
        """Return whether another label set has been put in force since this one was loaded."""
        return self.kind == "tagger" and current_folder(self.folder) != self._labels

    def with_current_labels(self) -> Student:
        """Return the same student with the label set now in force; nothing of its encoder is loaded again."""
        if not self.labels_changed():
            return self
        from lmteach.serving.label_search import load_search

        names, searcher = load_search(self.folder, self.about, self.backend)
        return Student(self.inner.relabelled(names, searcher), self.about, self.folder, self.backend)

    def _with_probabilities(self, tags: Tags) -> Tags:
        if tags.probabilities:
            return tags
        if self.about.calibration is None:
            return Tags(tags.labels, tags.scores, tags.scores) if self.kind == "classifier" else tags
        values = self.about.calibration.probabilities(tags.scores).tolist()
        return Tags(tags.labels, tags.scores, tuple(round(value, 6) for value in values))


def keep_above(tags: Tags, what: str, least: float) -> Tags:
    """Return the tags whose score or probability is at least `least`; both fall along the list."""
    values = tags.scores if what == "score" else tags.probabilities
    # Scores are rounded to 6 digits where they are shown, the threshold is not.
    return tags.cut(sum(value >= least - 5e-7 for value in values))


def parse_threshold(text: str | None) -> str | float | None:
    """Return what a command line means by a threshold: a probability, or a name."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text
