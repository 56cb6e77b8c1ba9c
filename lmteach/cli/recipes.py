"""List the shipped recipes with what each reproduces, then the sweeps with what each asks."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb takes none."""


def run(args: argparse.Namespace) -> int:
    """Print each recipe's name and the first line of its opening comment."""
    from lmteach.recipe.layers import shipped_recipes, shipped_sweeps

    paths, sweeps = shipped_recipes(), shipped_sweeps()
    width = max((len(p.name) for p in [*paths, *sweeps]), default=0)
    for path in paths:
        print(f"{path.name:<{width}}  {first_comment(path)}")
    print("\nfor `lmteach sweep`:")
    for path in sweeps:
        print(f"{path.name:<{width}}  {first_comment(path)}")
    return 0


def first_comment(path: Path) -> str:
    """Return the first comment line of a recipe, without its mark."""
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return first.lstrip("# ").strip() if first.startswith("#") else ""
