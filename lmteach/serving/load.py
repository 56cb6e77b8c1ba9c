"""Loading a student: from a run folder, or from one that `lmteach export` wrote; with torch or without."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lmteach.errors import LmteachError, RunError, missing_package
from lmteach.serving.about import ABOUT, About
from lmteach.serving.student import Student

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe

Backend = Literal["auto", "onnx", "torch"]


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


def student_path(path: Path) -> Path:
    """Return where a student's own files lie: a run's `student/`, or the exported folder itself."""
    return path / "student" if (path / "recipe.yaml").is_file() or not (path / ABOUT).is_file() else path


def read_about(path: Path) -> About:
    """Return what a run or an exported folder says of its student, which is not loaded.

    Raises:
        RunError: it is neither.
    """
    if (path / ABOUT).is_file() and not (path / "recipe.yaml").is_file():
        return About.load(path)
    from lmteach.curriculum.open_run import read_run

    _, recipe = read_run(path)
    return about_run(recipe)


def _load_run(folder: Path) -> Student:
    """Load the student of a run, its thresholds fitted on the verdicts that the run left."""
    from lmteach.curriculum.open_run import open_student, read_run
    from lmteach.serving.run_verdicts import calibrate_run
    from lmteach.serving.thresholds import Targets

    run, recipe = read_run(folder)
    inner = open_student(folder)
    calibration = calibrate_run(run, recipe, Targets()) if recipe.student.kind == "tagger" else None
    about = about_run(recipe)
    return Student(inner, dataclasses.replace(about, calibration=calibration), run.student, "torch")


def about_run(recipe: Recipe) -> About:
    """Return what a run's recipe says of its student."""
    from lmteach import __version__

    kind = recipe.student.kind
    encoder = {key: value for key, value in recipe.student.encoder.items() if key != "model"}
    if kind == "classifier":  # it is cut where its training texts were, and says the rest in lmteach.json
        length = 0 if recipe.student.tuning == "frozen" else int(encoder.get("document_length", 0))
        return About(
            kind=kind,
            name=recipe.name,
            precision=recipe.training.precision,
            text=recipe.corpus.text,
            search_length=length,
            version=__version__,
        )
    return About(
        kind=kind,
        name=recipe.name,
        encoder=encoder,
        searcher=dict(recipe.search.searcher),
        precision=recipe.search.precision,
        text=recipe.corpus.text,
        label_text=recipe.corpus.label_text,
        search_length=int(encoder.get("search_length", 0)),
        label_length=int(encoder.get("label_length", 0)),
        version=__version__,
    )
