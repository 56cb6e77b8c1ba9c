"""A finished run, opened again: its recipe, its student as a tagger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach.errors import RunError
from lmteach.recipe.load import load_recipe
from lmteach.serving.about import ABOUT, About
from lmteach.tracking.run_folder import RunFolder

if TYPE_CHECKING:
    from lmteach.machine import Precision
    from lmteach.recipe.schema import Recipe
    from lmteach.students.class_student import Classifier
    from lmteach.students.tagger import Tagger


def read_run(path: Path) -> tuple[RunFolder, Recipe]:
    """Return a run's folder and resolved recipe.

    Raises:
        RunError: this is no run folder.
    """
    folder = RunFolder(path)
    if not folder.recipe.is_file():
        within = sorted(p.parent.name for p in path.glob("*/recipe.yaml"))
        if within:
            raise RunError(
                f"There is no run here, but within: {', '.join(within)}.",
                where=str(path),
                mend=f"Name it: {path / within[0]}.",
            )
        raise RunError(
            "There is no run here (no recipe.yaml).",
            where=str(path),
            mend="`lmteach fit` makes one; runs lie under runs/ by default.",
        )
    return folder, load_recipe(str(folder.recipe)).recipe


def open_student(path: Path) -> Tagger | Classifier:
    """Return a run's or an exported student, ready to tag or to classify.

    Raises:
        RunError: the run has no student yet.
    """
    if not (path / "recipe.yaml").is_file() and (path / ABOUT).is_file():
        return open_exported(path, About.load(path))
    folder, recipe = read_run(path)
    student = folder.trained_student()
    if recipe.student.kind == "classifier":
        from lmteach.machine import device_name
        from lmteach.students.open_classifier import open_classifier

        device = device_name(recipe.trainer.accelerator)
        return open_classifier(student, device=device, precision=recipe.training.precision)
    encoder = {**recipe.student.encoder, "model": str(student)}
    return _open_tagger(
        student,
        encoder,
        recipe.search.searcher,
        accelerator=recipe.trainer.accelerator,
        precision=recipe.search.precision,
    )


def open_exported(folder: Path, about: About) -> Tagger | Classifier:
    """Return an exported student, computed by torch."""
    if about.kind == "classifier":
        from lmteach.machine import device_name
        from lmteach.students.open_classifier import open_classifier

        return open_classifier(folder, device=device_name("auto"), precision=_precision(about))
    encoder = {**about.encoder, "model": str(folder)}
    return _open_tagger(folder, encoder, about.searcher, accelerator="auto", precision=about.precision)


def _precision(about: About) -> Precision:
    return about.precision if about.precision in ("fp32", "bf16") else "auto"  # type: ignore[return-value]


def _open_tagger(
    folder: Path, encoder: Mapping[str, Any], searcher: Mapping[str, Any], *, accelerator: str, precision: Any
) -> Tagger:
    from lmteach import registry
    from lmteach.machine import choose_precision, device_name
    from lmteach.serving.label_search import build_search
    from lmteach.students.label_set import load_label_set
    from lmteach.students.tagger import Tagger

    device = device_name(accelerator)
    labels = load_label_set(folder)
    return Tagger(
        registry.build("encoder", encoder),
        labels.names,
        build_search(labels, dict(searcher)),
        device=device,
        precision=choose_precision(precision, device),
    )
