"""Probe every layer of a recipe's frozen backbones with a linear head, and print accuracy by layer.

Each backbone reads each text once, for all of its layers; what is computed is kept in the feature store, where
`fit` finds it. The labels are gold; the layer is to be chosen by the validation texts.

examples:
  lmteach sweep-layers --recipe llmembed_r8_small.yaml
  lmteach sweep-layers --recipe llmembed_r8_small.yaml --test corpus.n_train=1000
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from lmteach.cli.show import add_recipe_arguments

    add_recipe_arguments(parser)
    parser.add_argument("--backbone", metavar="NAME", help="one of the recipe's backbones (all)")
    parser.add_argument("--test", action="store_true", help="measure on held-out gold as well")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the tables")


def run(args: argparse.Namespace) -> int:
    """Extract, probe, print a table for each backbone."""
    from lmteach.recipe.check import check_recipe
    from lmteach.recipe.load import load_recipe

    recipe = load_recipe(args.recipe, args.overrides).recipe
    check_recipe(recipe)
    from lmteach.curriculum.layer_sweep import sweep_layers
    from lmteach.tracking.console import Console

    sweep_layers(recipe, Console(quiet=args.quiet), only=args.backbone, test=args.test)
    return 0
