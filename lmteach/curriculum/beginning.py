"""The start of a run, new or resumed: what it has spent, and what it stands on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.sharded import restore_spent
from lmteach.teaching.cost import Spent
from lmteach.tracking.manifest import describe_run
from lmteach.tracking.run_folder import RunFolder, write_json

Fingerprints = Callable[[RunContext], dict[str, Any]]


def begin_run(context: RunContext, folder: RunFolder, fingerprints: Fingerprints) -> None:
    """Take up what the run spent before, and write down what it stands on, unless that is done.

    Args:
        fingerprints: makes the manifest's.
    """
    context.spent_path = folder.path / "spent.json"
    spent: dict[str, Any] = context.ranks.share(dataclasses.asdict(restore_spent(context.spent_path)))
    context.budget.spent = Spent(**spent)
    if context.budget.spent != Spent():
        context.save_spent()

    def write() -> None:
        if not folder.manifest.is_file():
            write_json(
                folder.manifest, describe_run(seed=context.recipe.seed, fingerprints=fingerprints(context))
            )

    context.ranks.first_alone(write)
