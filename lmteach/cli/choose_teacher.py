"""Rank candidate teachers on a few documents, before the big spend.

Each candidate judges the same shortlists. It stands well if it says the same when asked in other words (or in
another order), agrees with the other candidates, and picks better labels than the student alone does. The store
keeps every answer, so the run that follows does not pay for them again.

A TEACHER is `recipe` (the recipe's own), a plugin's name, a section such as "{name: oracle, noise: 0.1}", or a
YAML file that holds a section or a recipe.

examples:
  lmteach choose-teacher --recipe lmtx_quickstart.yaml recipe "{name: random}"
  lmteach choose-teacher --recipe lmtx_debtags.yaml --documents 100 big.yaml small.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lmteach.tracking.figures import interval

if TYPE_CHECKING:
    from lmteach.curriculum.choosing import Choice
    from lmteach.metrics.intervals import Interval
    from lmteach.tracking.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--recipe", required=True, help="a file, or the name of a shipped recipe")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="TEACHER | KEY=VALUE",
        help="teachers, or keys of the recipe",
    )
    parser.add_argument("--documents", type=int, default=200, metavar="N", help="to be judged (%(default)s)")
    parser.add_argument(
        "--paraphrase", default="", metavar="NAME", help="the prompt to ask again by (one of the same kind)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")


def run(args: argparse.Namespace) -> int:
    """Ask, rank, print."""
    from lmteach.curriculum.choosing import choose_teacher, read_candidate
    from lmteach.errors import LmteachError
    from lmteach.recipe.check import check_recipe
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console
    from lmteach.tracking.run_folder import write_json

    if args.documents < 1:
        raise LmteachError(f"--documents is {args.documents}; it must be 1 or more.")
    teachers = [text for text in args.overrides if text.lstrip().startswith("{") or "=" not in text]
    recipe = load_recipe(args.recipe, [text for text in args.overrides if text not in teachers]).recipe
    check_recipe(recipe)
    candidates = [read_candidate(text, recipe.teacher) for text in teachers]
    from lmteach.curriculum.context import open_context
    from lmteach.teaching.store import Store

    console = Console(quiet=args.quiet)
    with Store.open(recipe.run.store, run=f"{recipe.name} (choose-teacher)") as store:
        choice = choose_teacher(
            open_context(recipe, console, store=store), candidates, args.documents, args.paraphrase
        )
    if args.json is not None:
        import dataclasses

        write_json(args.json, dataclasses.asdict(choice))
    _print(console, choice)
    return 0


def _print(console: Console, choice: Choice) -> None:
    rows = [
        [
            f"{s.place}  {_short(s.name)}",
            _maybe(s.consistency) or "not asked twice",
            _maybe(s.agreement),
            _maybe(s.gain, "+.3f"),
            f"{s.unread:.1%}",
            f"{s.judgements:,}",
            f"{s.from_store:,}",
            "" if s.seconds is None else f"{s.seconds:,.1f}",
            "" if s.usd is None else f"{s.usd:,.4f}",
        ]
        for s in choice.standings
    ]
    against = "gold" if choice.by_gold else "the others' choice"
    columns = ["teacher", "consistency", "agreement", f"P@1 gained, by {against}", "unread", "judged now"]
    columns += ["from the store", "s / 1,000", "USD / 1,000"]
    console.table(
        f"{choice.n_documents:,} documents, {choice.n_judged} candidates each, 95% intervals", columns, rows
    )
    for s in choice.standings:
        print(f"{s.place}  {s.teacher}{f'; {s.how}' if s.how else ''}")
    print(f"best by the mean of its ranks: {choice.standings[0].name}")


def _maybe(value: Interval | None, form: str = ".3f") -> str:
    return "" if value is None else interval(value, form)


def _short(name: str) -> str:
    return name if len(name) <= 48 else name[:45] + "..."
