"""List the installed plugins: kind, name, where each comes from. Nothing is imported.

With --check each plugin is imported, and a broken one says why.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--kind", help="only this kind: teacher, encoder, searcher, curriculum")
    parser.add_argument("--check", action="store_true", help="import each one and say whether it loads")


def run(args: argparse.Namespace) -> int:
    """Print a line a plugin; with --check exit 1 if one is broken."""
    from lmteach.errors import LmteachError
    from lmteach.registry import KINDS, entries, load

    broken = 0
    for kind in [args.kind] if args.kind else KINDS:
        names = [entry.name for entry in entries(kind)]
        for entry in entries(kind):
            note = "  CLASH: announced twice" if names.count(entry.name) > 1 else ""
            if args.check:
                try:
                    load(kind, entry.name)
                    note = "  ok"
                except LmteachError as error:
                    broken += 1
                    note = f"  BROKEN: {error}"
            print(f"{kind:<11}{entry.name:<16}{entry.distribution} {entry.version}  {entry.target}{note}")
    return 1 if broken else 0
