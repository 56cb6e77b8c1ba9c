"""List, add and remove a student's labels, without retraining.

FILE holds a label a line, or is .jsonl with `name` and further fields that the recipe's corpus.label_text asks for.
A running `lmteach serve` takes the change up within a second. `lmteach fit --from RUN` teaches the student its new
labels, by judging only the documents whose shortlist now holds one.

examples:
  lmteach labels list runs/lmtx_quickstart
  lmteach labels add runs/lmtx_quickstart new.txt
  lmteach labels remove runs/lmtx_quickstart old.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("action", choices=("list", "add", "remove"))
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or one that export wrote")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="labels to add or remove")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    import sys

    from lmteach.errors import LmteachError
    from lmteach.serving.labels import add_labels, list_labels, remove_labels

    if (args.action == "list") != (args.file is None):
        need = "takes no file" if args.action == "list" else "needs a file of labels"
        raise LmteachError(f"`lmteach labels {args.action}` {need}.")
    if args.action == "list":
        for name, is_new in list_labels(args.run):
            print(f"{name}\tadded" if is_new else name)
        return 0
    change = (add_labels if args.action == "add" else remove_labels)(args.run, args.file)
    done = "added" if args.action == "add" else "removed"
    rest = f", {change.n_unchanged:,} were there already" if change.n_unchanged else ""
    print(f"labels: {change.n_changed:,} {done}{rest}; {change.n_labels:,} labels now", file=sys.stderr)
    return 0
