"""A run's student as a folder that needs neither the run nor, to be used, this framework."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach.curriculum.open_run import open_student, read_run
from lmteach.errors import LmteachError, RunError
from lmteach.serving.about import About, OnnxFile
from lmteach.serving.load import about_run
from lmteach.serving.model_card import write_card
from lmteach.serving.run_verdicts import calibrate_run
from lmteach.serving.thresholds import ScoreCalibration, Targets
from lmteach.students.label_set import (
    LOCK,
    POINTER,
    SETS,
    LabelVectors,
    load_label_set,
    save_index,
    save_labels,
)
from lmteach.tracking.run_folder import RunFolder, write_whole

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe
    from lmteach.tracking.console import Console

N_PARITY_TEXTS = 100  # documents, and as many labels, that an ONNX graph is compared on


@dataclass(frozen=True)
class ExportOptions:
    """What an export holds.

    Attributes:
        onnx, int8: a graph for onnxruntime; quantised.
        dev: documents with gold labels to fit thresholds on; None = the run's dev documents and their verdicts.
        targets: of the thresholds.
        force: replace a folder that is not empty.
    """

    onnx: bool = False
    int8: bool = False
    dev: Path | None = None
    targets: Targets = field(default_factory=Targets)
    force: bool = False


def export_run(run: Path, to: Path, options: ExportOptions, console: Console) -> About:
    """Write a run's student to a folder, whole or not at all; return what it says of itself.

    Raises:
        RunError: the run has no student, the folder is not empty, or an ONNX graph is not the same student.
    """
    options.targets.check()
    folder, recipe = read_run(run)
    _check_target(to, options.force)
    inner = open_student(run)
    kind = recipe.student.kind
    if kind != "tagger" and options.onnx:
        raise RunError("--onnx exports taggers; this student is a classifier.", where=str(run))
    calibration = _calibrate(folder, recipe, inner, kind, options)
    about = dataclasses.replace(about_run(recipe), calibration=calibration)
    made: list[About] = []

    def write(path: Path) -> None:
        ignored = shutil.ignore_patterns(SETS, POINTER, LOCK, ".*.tmp")
        shutil.copytree(folder.student, path, ignore=ignored)
        finished = about
        if kind == "tagger":
            finished = _write_tagger(path, folder, recipe, inner, about, options, console)
        finished.save(path)
        write_card(path, folder, recipe, finished)
        made.append(finished)

    to.parent.mkdir(parents=True, exist_ok=True)
    write_whole(to, write)
    return made[-1]


def _check_target(to: Path, force: bool) -> None:
    if to.is_file():
        raise RunError("A file stands where the folder should be.", where=str(to))
    if to.is_dir() and any(to.iterdir()) and not force:
        raise RunError(
            "This folder is not empty.", where=str(to), mend="Name another, or replace it all with --force."
        )
    if force and to.is_dir() and any(to.iterdir()) and not any((to / n).is_file() for n in ("serving.json",)):
        raise RunError(
            "This folder holds something that is no exported student; --force will not delete that.",
            where=str(to),
            mend="Name another folder.",
        )


def _calibrate(
    folder: RunFolder, recipe: Recipe, inner: Any, kind: str, options: ExportOptions
) -> ScoreCalibration | None:
    if options.dev is not None:
        from lmteach.serving.gold_file import calibrate_on_file

        return calibrate_on_file(inner, options.dev, recipe.corpus.text, options.targets)
    return calibrate_run(folder, recipe, options.targets) if kind == "tagger" else None


def _write_tagger(
    path: Path,
    folder: RunFolder,
    recipe: Recipe,
    tagger: Any,
    about: About,
    options: ExportOptions,
    console: Console,
) -> About:
    """Write what a tagger needs besides its encoder: labels in force, index, graph."""
    labels = load_label_set(folder.student)
    save_labels(path, labels.names, labels.texts, labels.vectors_lD)
    if save_index(path, about.searcher, labels.vectors_lD):
        console.say(f"export: an index over {len(labels.names):,} labels")
    about = dataclasses.replace(about, **_lengths(tagger.encoder, about))
    if options.onnx or options.int8:
        about = dataclasses.replace(about, onnx=_onnx(path, recipe, tagger, about, labels, options, console))
    return about


def _lengths(encoder: Any, about: About) -> dict[str, Any]:
    """Return where texts are truly cut: no further than the model has positions."""
    lengths = getattr(encoder, "lengths", None) or {
        "search": about.search_length,
        "label": about.label_length,
    }
    most = getattr(encoder, "positions", 1_000_000)
    return {f"{kind}_length": int(min(lengths[kind], most)) for kind in ("search", "label")}


def _onnx(
    path: Path,
    recipe: Recipe,
    tagger: Any,
    about: About,
    labels: LabelVectors,
    options: ExportOptions,
    console: Console,
) -> OnnxFile:
    from lmteach.serving.onnx_export import export_onnx

    texts = [*labels.texts[:N_PARITY_TEXTS], *_dev_texts(recipe, console)]
    with console.stage("onnx", len(texts), unit="texts") as stage:
        found = export_onnx(path, tagger.encoder, about, texts, labels.vectors_lD, int8=options.int8)
        stage.advance(len(texts))
    console.say(
        f"onnx: {found.path} on {found.n_texts} texts: greatest difference {found.greatest_difference:.1e}, "
        f"least cosine {found.least_cosine:.5f}, same first label {found.same_first_label:.1%}"
    )
    return found


def _dev_texts(recipe: Recipe, console: Console) -> Sequence[str]:
    """Return some of the run's dev documents; none where its corpus is no longer there."""
    from lmteach.corpus.load import load_corpus

    try:
        corpus = load_corpus(recipe.corpus, recipe.seed, Path.cwd())
    except LmteachError as error:
        console.say(
            f"onnx: compared on label texts alone, since the run's corpus is not to be had ({error.what})"
        )
        return []
    documents = corpus.dev or corpus.train
    return documents.texts(list(range(min(len(documents), N_PARITY_TEXTS))))
