"""A finished run, opened again: its recipe, its student as a tagger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmteach.errors import RunError
from lmteach.recipe.load import load_recipe
from lmteach.tracking.run_folder import RunFolder

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe
    from lmteach.students.tagger import Tagger


def read_run(path: Path) -> tuple[RunFolder, Recipe]:
    """Return a run's folder and resolved recipe.

    Raises:
        RunError: this is no run folder.
    """
    folder = RunFolder(path)
    if not folder.recipe.is_file():
        raise RunError(
            "There is no run here (no recipe.yaml).",
            where=str(path),
            mend="`lmteach fit` makes one; runs lie under runs/ by default.",
        )
    return folder, load_recipe(str(folder.recipe)).recipe


def open_student(path: Path) -> Tagger:
    """Return a run's student, ready to tag.

    Raises:
        RunError: the run has no student yet.
    """
    folder, recipe = read_run(path)
    if not folder.student.is_dir():
        raise RunError(
            "This run has no student yet.", where=str(path), mend="Go on with it: `lmteach fit --resume`."
        )
    from lmteach import registry
    from lmteach.machine import choose_precision, device_name
    from lmteach.students.tagger import Tagger, load_labels

    device = device_name(recipe.trainer.accelerator)
    names, vectors = load_labels(folder.student)
    searcher = registry.build("searcher", recipe.search.searcher)
    searcher.build(vectors)
    encoder = registry.build("encoder", {**recipe.student.encoder, "model": str(folder.student)})
    precision = choose_precision(recipe.search.precision, device)
    return Tagger(encoder, names, searcher, device=device, precision=precision)
