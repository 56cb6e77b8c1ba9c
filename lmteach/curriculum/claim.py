"""A run's folder claimed: locked for this process, and this recipe's, new or resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmteach.errors import RunError
from lmteach.recipe.load import flatten, load_recipe, to_yaml
from lmteach.recipe.schema import Recipe
from lmteach.tracking.run_folder import RunFolder, write_whole

FREE = ("tracking.",)  # keys that may change between a run's attempts: they decide nothing that it finds


@contextmanager
def claimed_folder(recipe: Recipe, *, resume: bool) -> Iterator[RunFolder]:
    """Lock the recipe's run folder for the time, and make sure that it is this recipe's.

    Raises:
        RunError: it is in use, exists (without `resume`), or holds another recipe.
    """
    folder = RunFolder(Path(recipe.run.folder or f"runs/{recipe.name}"))
    folder.lock()
    try:
        _claim(folder, recipe, resume)
        yield folder
    finally:
        folder.unlock()


def _claim(folder: RunFolder, recipe: Recipe, resume: bool) -> None:
    """Make the folder this recipe's, or make sure that it is."""
    if not folder.manifest.is_file():  # a run that got no further than its corpus or teacher has done nothing
        write_whole(folder.recipe, lambda path: path.write_text(to_yaml(recipe), encoding="utf-8"))
        return
    if not resume:
        raise RunError(
            "There is a run here already.",
            where=str(folder.path),
            mend="Add --resume to go on with it, or give this one its own folder: run.folder=runs/OTHER.",
        )
    before = flatten(dataclasses.asdict(load_recipe(str(folder.recipe)).recipe))
    now = flatten(dataclasses.asdict(recipe))
    both = sorted(before.keys() | now.keys())
    changed = [key for key in both if before.get(key) != now.get(key) and not key.startswith(FREE)]
    if changed:
        listed = "; ".join(f"{key} was {before.get(key)!r}, now {now.get(key)!r}" for key in changed)
        raise RunError(
            f"The recipe is not the one this run began with: {listed}.",
            where=str(folder.path),
            mend="Give the changed recipe its own folder: run.folder=runs/OTHER.",
        )
