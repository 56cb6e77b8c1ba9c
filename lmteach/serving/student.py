"""A trained student in Python: `load_student(path).predict(texts, top_k=5)`.

Light: an exported ONNX student is loaded and used without torch. Shape legend: n texts, k labels a text.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lmteach.errors import LmteachError, RunError, missing_package
from lmteach.serving.about import ABOUT, About
from lmteach.students.label_set import current_folder
from lmteach.students.tags import Tags

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe
    from lmteach.search.protocol import Searcher, Vectors
    from lmteach.students.protocol import Kind

Backend = Literal["auto", "onnx", "torch"]


class StudentAtWork(Protocol):
    """A tagger or classifier, whatever computes it."""

    @property
    def names(self) -> Sequence[str]: ...

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]: ...


class TaggerAtWork(StudentAtWork, Protocol):
    """A tagger, whose label set can change while it serves."""

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors: ...

    def relabelled(self, names: Sequence[str], searcher: Searcher) -> TaggerAtWork: ...


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
                on dev documents, or a probability between 0 and 1. None keeps all `top_k`.

        Raises:
            LmteachError: a wrong argument, or a threshold that this student does not have.
        """
        if isinstance(texts, str):
            raise LmteachError("predict takes a list of texts, not one text.", mend="Write predict([text]).")
        if top_k < 1:
            raise LmteachError(f"top_k is {top_k}; it must be 1 or more.")
        least = self.check_threshold(threshold)
        found = [self._with_probabilities(tags) for tags in self.inner.predict(list(texts), top_k)]
        return found if least is None else [keep_above(tags, *least) for tags in found]

    def check_threshold(self, threshold: str | float | None) -> tuple[str, float] | None:
        """Return what a tag is compared by (`score` or `probability`) and its least value; None = no threshold.

        Raises:
            LmteachError: this student has no such threshold.
        """
        if threshold is None:
            return None
        if isinstance(threshold, str):
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


def load_student(path: str | Path, *, backend: Backend = "auto") -> Student:
    """Load a run's or an exported student.

    Args:
        path: a run folder, or one that `lmteach export` wrote.
        backend: `onnx` computes with onnxruntime (needs an export with `--onnx` and `lmteach[serve]`; torch is not
            imported), `torch` with torch; `auto` takes onnx where the folder has it and onnxruntime is installed.

    Raises:
        RunError: there is no student, or not in the form asked for.
        PluginError: a package is missing.
    """
    folder = Path(path)
    if (folder / "recipe.yaml").is_file():
        if backend == "onnx":
            raise RunError(
                "A run folder has no ONNX student.",
                where=str(path),
                mend=f"Export it: lmteach export {path} --to DIR --onnx",
            )
        return _load_run(folder)
    about = About.load(folder)
    if choose_backend(about, folder, backend) == "onnx":
        from lmteach.serving.label_search import load_search
        from lmteach.serving.onnx_student import OnnxTagger

        names, searcher = load_search(folder, about, "onnx")
        return Student(OnnxTagger(folder, about, names, searcher), about, folder, "onnx")
    from lmteach.curriculum.open_run import open_exported

    return Student(open_exported(folder, about), about, folder, "torch")


def choose_backend(about: About, folder: Path, wanted: Backend) -> str:
    """Return `onnx` or `torch`.

    Raises:
        RunError: there is no ONNX graph where one is wanted.
        PluginError: onnxruntime or tokenizers is not installed where it is wanted.
    """
    missing = [name for name in ("onnxruntime", "tokenizers") if importlib.util.find_spec(name) is None]
    if wanted == "auto":
        return "onnx" if about.onnx is not None and not missing else "torch"
    if wanted == "onnx" and about.onnx is None:
        raise RunError(
            "This student was exported without ONNX.",
            where=str(folder / ABOUT),
            mend="Export it again with --onnx.",
        )
    if wanted == "onnx" and missing:
        raise missing_package(missing[0], needed_by="An ONNX student", command="pip install 'lmteach[serve]'")
    if wanted not in ("onnx", "torch"):
        raise LmteachError(f"There is no backend '{wanted}'.", mend="Use auto, onnx or torch.")
    return wanted


def _load_run(folder: Path) -> Student:
    """Load the student of a run, its thresholds fitted on the verdicts that the run left."""
    from lmteach.curriculum.open_run import open_student, read_run
    from lmteach.serving.run_verdicts import calibrate_run
    from lmteach.serving.thresholds import Targets

    run, recipe = read_run(folder)
    inner = open_student(folder)
    kind = student_kind(run.student)
    calibration = calibrate_run(run, recipe, Targets()) if kind == "tagger" else None
    about = about_run(recipe, kind)
    return Student(inner, _with(about, calibration), run.student, "torch")


def student_kind(folder: Path) -> str:
    """Return `tagger` or `classifier`: what a run's student folder says, `tagger` where it says nothing."""
    from lmteach.tracking.run_folder import read_json

    path = folder / "lmteach.json"
    return str(read_json(path).get("kind", "tagger")) if path.is_file() else "tagger"


def about_run(recipe: Recipe, kind: str) -> About:
    """Return what a run's recipe says of its student."""
    from lmteach import __version__

    encoder = {key: value for key, value in recipe.student.encoder.items() if key != "model"}
    if kind == "classifier":  # it is cut where its training texts were, and says the rest in lmteach.json
        length = 0 if recipe.student.tuning == "frozen" else int(encoder.get("document_length", 0))
        return About(
            kind=kind,
            name=recipe.name,
            precision=recipe.training.precision,
            search_length=length,
            version=__version__,
        )
    return About(
        kind=kind,
        name=recipe.name,
        encoder=encoder,
        searcher=dict(recipe.search.searcher),
        precision=recipe.search.precision,
        label_text=recipe.corpus.label_text,
        search_length=int(encoder.get("search_length", 0)),
        label_length=int(encoder.get("label_length", 0)),
        version=__version__,
    )


def _with(about: About, calibration: Any) -> About:
    import dataclasses

    return dataclasses.replace(about, calibration=calibration)
