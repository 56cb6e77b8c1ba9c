"""Print the resolved recipe: parents merged, overrides applied, plugin defaults filled in.

lmteach show --recipe lmtx_quickstart.yaml
lmteach show --recipe lmtx_quickstart.yaml --origin training.lr=1e-5
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_recipe_arguments(parser)
    parser.add_argument("--origin", action="store_true", help="add the file and line that set each value")


def add_recipe_arguments(
    parser: argparse.ArgumentParser, group: argparse._MutuallyExclusiveGroup | None = None
) -> None:
    """Declare `--recipe` and the overrides, shared by all verbs that read a recipe.

    Args:
        group: what `--recipe` shares its place with; None = it must be given.
    """
    about = "a file, or the name of a shipped recipe"
    if group is None:
        parser.add_argument("--recipe", required=True, help=about)
    else:
        group.add_argument("--recipe", help=about)
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help="override a recipe key")


def run(args: argparse.Namespace) -> int:
    """Print the recipe as YAML, or key by key with origins."""
    import dataclasses

    from lmteach.recipe.load import flatten, load_recipe, to_yaml

    loaded = load_recipe(args.recipe, args.overrides)
    if not args.origin:
        print(to_yaml(loaded.recipe), end="")
        return 0
    rows = [
        (f"{key}: {value!r}", loaded.origins[key])
        for key, value in flatten(dataclasses.asdict(loaded.recipe)).items()
    ]
    width = min(max(len(text) for text, _ in rows), 72)
    for text, origin in rows:
        print(f"{text:<{width}}  # {origin}")
    return 0
