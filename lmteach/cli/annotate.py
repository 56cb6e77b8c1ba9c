"""Run the teacher alone: judge what a recipe's first cycle asks for, into the store, without training.

A `fit` of the same recipe that opens the same store, on this machine or another, then finds the verdicts there
and pays for none of them. Stopped or out of budget, the same command goes on where it was.

examples:
  lmteach annotate --recipe lmtx_debtags.yaml
  lmteach annotate --recipe lmtx_debtags.yaml run.store=postgresql+psycopg://me@host/lmteach budget.hours=8
  lmteach annotate --recipe lmtx_debtags.yaml --student runs/lmtx_debtags
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmteach.curriculum.ahead import Judged
    from lmteach.curriculum.context import RunContext
    from lmteach.recipe.schema import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from lmteach.cli.show import add_recipe_arguments

    add_recipe_arguments(parser)
    parser.add_argument(
        "--student",
        type=Path,
        metavar="RUN",
        help="let this run's student make the shortlists, not the untuned one",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the counts")


def run(args: argparse.Namespace) -> int:
    """Judge and keep."""
    from lmteach.recipe.check import check_recipe
    from lmteach.recipe.load import load_recipe

    recipe = load_recipe(args.recipe, args.overrides).recipe
    check_recipe(recipe)
    from lmteach.curriculum.ahead import annotate_ahead, check_keeps, student_of
    from lmteach.teaching.store import Store

    student = None if args.student is None else student_of(args.student)
    context = _open(recipe, quiet=args.quiet)
    teachers = check_keeps(recipe, context.teacher_resources())
    with Store.open(recipe.run.store, run=recipe.name) as store:
        context.store = store
        identities = [teacher.identity for teacher in teachers if teacher.scope != "none"]
        judged = annotate_ahead(context, student)
        _report(judged, store.place, identities)
    return 0


def _open(recipe: Recipe, *, quiet: bool) -> RunContext:
    from lmteach.curriculum.context import open_context
    from lmteach.tracking.console import Console

    return open_context(recipe, Console(quiet=quiet))


def _report(judged: Sequence[Judged], place: str, identities: Sequence[str]) -> None:
    for part in judged:
        c = part.counters
        cost = f"{c.usage.prompt_tokens + c.usage.answer_tokens:,} tokens, {c.usage.seconds:,.0f} s"
        cost += f", {c.usage.usd:.2f} USD" if c.usage.usd else ""
        print(
            f"{part.split:<5} {part.n_documents:,} documents: {c.made:,} judgements made, "
            f"{c.from_store:,} from the store, {c.unread:,} unread; {cost}"
        )
    stopped = next((part.stopped_by for part in judged if part.stopped_by), "")
    if stopped:
        print(f"stopped at {stopped}; the same command with a higher cap goes on from here")
    for identity in identities:
        print(f"kept in {place} as: {identity}")
