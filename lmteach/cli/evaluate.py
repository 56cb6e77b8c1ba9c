"""Measure a run's student on the held-out gold of its corpus, beside the untuned student.

examples:
  lmteach evaluate runs/lmtx_quickstart
  lmteach evaluate runs/lmtx_quickstart corpus.n_test=null
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="override a key of the run's recipe"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")


def run(args: argparse.Namespace) -> int:
    """Evaluate, append a line to the run's metrics, print a table."""
    from lmteach.curriculum.open_run import read_run
    from lmteach.recipe.load import load_recipe

    folder, _ = read_run(args.run)
    folder.trained_student()
    recipe = load_recipe(str(folder.recipe), args.overrides).recipe
    from lmteach.curriculum.context import open_context
    from lmteach.curriculum.finish import evaluate_run
    from lmteach.tracking.console import Console

    context = open_context(recipe, Console(quiet=args.quiet))
    if recipe.student.kind == "classifier":
        from lmteach.curriculum.classifying import evaluate_classifier_run

        evaluate_classifier_run(context, folder)
    else:
        evaluate_run(context, folder)
    return 0
