"""Run the teacher alone: judge what a recipe's first cycle asks for, into the store, without training.

A `fit` of the same recipe that opens the same store, on this machine or another, then finds the verdicts there
and pays for none of them. Stopped or out of budget, the same command goes on where it was.

engine=ray has the teacher judge on the workers of a Ray cluster (pip install "lmteach[ray]"), each with a teacher of
its own; the store then holds the same verdicts. Shortlists are made in this process:
  ray.workers=N          workers (one a GPU; where there are none, one a machine)
  ray.cpus=N ray.gpus=N  cores and GPUs of each (its machine's cores shared evenly; 1 GPU where there are any)
  ray.address=HOST:PORT  a cluster that runs, or auto for the one this machine is part of; without it one is
                         started on this machine, and ended with the work

examples:
  lmteach annotate --recipe lmtx_debtags.yaml
  lmteach annotate --recipe lmtx_debtags.yaml run.store=postgresql+psycopg://me@host/lmteach budget.hours=8
  lmteach annotate --recipe lmtx_debtags.yaml --student runs/lmtx_debtags
  lmteach annotate --recipe lmtx_amazoncat.yaml trainer.devices=4
  lmteach annotate --recipe lmtx_debtags.yaml engine=ray ray.workers=4
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmteach.curriculum.ahead import Judged


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
    from lmteach.engines.options import take_options
    from lmteach.recipe.check import check_recipe
    from lmteach.recipe.load import load_recipe

    engine, overrides = take_options(args.overrides)
    recipe = load_recipe(args.recipe, overrides).recipe
    check_recipe(recipe)
    from lmteach.curriculum.ahead import student_of
    from lmteach.curriculum.annotating import annotate
    from lmteach.tracking.console import Console

    student = None if args.student is None else student_of(args.student)
    done = annotate(recipe, Console(quiet=args.quiet), student, engine)
    if done is not None:  # of several processes, the first one speaks
        _report(done.judged, done.place, done.identities)
    return 0


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
