"""Teach a student by a recipe.

examples:
  lmteach fit --recipe lmtx_quickstart.yaml
  lmteach fit --recipe lmtx_quickstart.yaml corpus.n_train=500 training.lr=1e-5
  lmteach fit --recipe lmtx_debtags.yaml --resume
  lmteach fit --from runs/lmtx_quickstart
  lmteach fit --recipe llambert_imdb_small.yaml supervision=all corpus.n_extra=1000 seed=1,2,3
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from lmteach.cli.show import add_recipe_arguments

    group = parser.add_mutually_exclusive_group(required=True)
    add_recipe_arguments(parser, group)
    group.add_argument(
        "--from", dest="source", type=Path, metavar="RUN", help="teach a run's student the labels added to it"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the final table")


def run(args: argparse.Namespace) -> int:
    """Load the recipe and run its cycles."""
    from lmteach.curriculum.regimes import fit_regimes, take_lists
    from lmteach.curriculum.sweeping import agent_folder
    from lmteach.recipe.check import check_recipe
    from lmteach.recipe.load import load_recipe

    if args.source is not None:
        return _refresh(args)
    lists, overrides = take_lists(args.overrides)
    recipe = load_recipe(args.recipe, overrides).recipe
    recipe.run.folder = recipe.run.folder or agent_folder()
    check_recipe(recipe)  # before what takes seconds to import
    from lmteach.tracking.console import Console

    console = Console(quiet=args.quiet)
    if lists:
        fit_regimes(recipe, lists, console, resume=args.resume)
        return 0
    from lmteach.curriculum.cycles import fit

    fit(recipe, console, resume=args.resume)
    return 0


def _refresh(args: argparse.Namespace) -> int:
    from lmteach.curriculum.refresh import refresh
    from lmteach.tracking.console import Console

    refresh(args.source, args.overrides, Console(quiet=args.quiet), resume=args.resume)
    return 0
