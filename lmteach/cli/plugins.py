"""List the installed plugins, write a new one, or check that one keeps its contract.

Without an action: kind, name and origin of each; nothing is imported. With --check each plugin is imported, and a
broken one says why.

examples:
  lmteach plugins --kind teacher
  lmteach plugins new teacher mine
  lmteach plugins check mine
  lmteach plugins new head mine
  lmteach plugins check scann --kind searcher
  lmteach plugins check ./mine.py:MyTeacher --kind teacher threshold=0.5 --other threshold=0.7
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments and actions."""
    parser.add_argument("--kind", help="only this kind: teacher, encoder, searcher, curriculum, head, loss")
    parser.add_argument("--check", action="store_true", help="import each one and say whether it loads")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    new = actions.add_parser("new", help="write a stand-alone package with a plugin that works")
    new.add_argument("new_kind", metavar="KIND", help="teacher, encoder, searcher, curriculum, head or loss")
    new.add_argument("name", metavar="NAME", help="what recipes will say: small letters, digits, underscores")
    new.add_argument(
        "--folder", type=Path, default=Path(), help="where lmteach-NAME is written (%(default)s)"
    )
    check = actions.add_parser("check", help="run the public contract suite over one plugin")
    check.add_argument("name", metavar="NAME", help="as in `lmteach plugins`, or ./file.py:Class")
    check.add_argument(
        "overrides", nargs="*", metavar="key=value", help="keys of its Config to build it with"
    )
    # Not `default=None`: that of an action's parser would overwrite a --kind that stands before the action.
    check.add_argument("--kind", default=argparse.SUPPRESS, help="where kinds share the name")
    check.add_argument(
        "--other",
        action="append",
        default=[],
        metavar="key=value",
        help="a key that must give a teacher another identity; may be repeated",
    )
    check.add_argument(
        "--leave-out", action="append", default=[], metavar="TEST", help="a test not to run; may be repeated"
    )


def run(args: argparse.Namespace) -> int:
    """Do the action, or print a line a plugin; exit 1 if a plugin is broken or breaks its contract."""
    if args.action == "new":
        return _new(args)
    return _check(args) if args.action == "check" else _list(args)


def _list(args: argparse.Namespace) -> int:
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
            print(f"{kind:<11}{entry.name:<17}{entry.distribution} {entry.version}  {entry.target}{note}")
    return 1 if broken else 0


def _new(args: argparse.Namespace) -> int:
    from lmteach.scaffold.package import write_package

    written = write_package(args.new_kind, args.name, args.folder)
    folder = written[0].parent
    print(*(f"{path}" for path in written), sep="\n")
    print(f"\nIt works as it stands: pip install --editable {folder} && lmteach plugins check {args.name}")
    print(f"{folder / 'README.md'} says the rest.")
    return 0


def _check(args: argparse.Namespace) -> int:
    from lmteach.testing.running import heavy_imports, run_suite, suite_of

    kind = args.kind or _kind_of(args.name)
    suite = suite_of(kind, args.name, _values(args.overrides), [_values([text]) for text in args.other])
    failed = 0
    suite().build()  # where its keys do not fit, that is all there is to say
    heavy = heavy_imports(kind, args.name)
    if heavy:
        failed += 1
        print(f"FAILED  reading_its_keys_imports_nothing_heavy\n        imports {', '.join(heavy)}")
    else:
        print("ok      reading_its_keys_imports_nothing_heavy")
    n = 1
    for outcome in run_suite(suite, args.leave_out):
        n += 1
        test = outcome.test.removeprefix("test_")
        print(
            f"FAILED  {test}\n        {outcome.fault}\n        {outcome.why}"
            if outcome.fault
            else f"ok      {test}"
        )
        failed += bool(outcome.fault)
    left_out = f", {len(args.leave_out)} left out" if args.leave_out else ""
    print(f"\n{kind} {args.name}: {n - failed} of {n} kept{left_out}")
    return 1 if failed else 0


def _kind_of(name: str) -> str:
    """Return the one kind in which the name is announced."""
    from lmteach.errors import PluginError, nearest_name
    from lmteach.registry import KINDS, entries

    names = {kind: {entry.name for entry in entries(kind)} for kind in KINDS}
    kinds = [kind for kind in KINDS if name in names[kind]]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise PluginError(
            f"'{name}' is the name of the {' and of the '.join(kinds)}.", mend="Say which: --kind KIND."
        )
    raise PluginError(
        f"There is no plugin named '{name}'.",
        nearest=nearest_name(name, sorted(set().union(*names.values()))),
        mend="`lmteach plugins` lists the names; a file needs --kind.",
    )


def _values(texts: list[str]) -> dict[str, Any]:
    """Return `key=value` texts as plain values, read as YAML."""
    import yaml

    from lmteach.errors import RecipeError

    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"'{text}' is no key=value.")
        values[key] = yaml.safe_load(value)
    return values
