"""List the shipped recipes with what each reproduces."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb takes none."""


def run(args: argparse.Namespace) -> int:
    """Print each recipe's name and the first line of its opening comment."""
    from lmteach.recipe.layers import shipped_recipes

    paths = shipped_recipes()
    width = max((len(p.name) for p in paths), default=0)
    for path in paths:
        print(f"{path.name:<{width}}  {first_comment(path)}")
    return 0


def first_comment(path: Path) -> str:
    """Return the first comment line of a recipe, without its mark."""
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return first.lstrip("# ").strip() if first.startswith("#") else ""
