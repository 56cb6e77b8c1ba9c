"""Look at the store of verdicts, carry it elsewhere, or delete from it.

examples:
  lmteach store stats
  lmteach store export verdicts.jsonl.gz
  lmteach store import verdicts.jsonl.gz --store postgresql+psycopg://me@host/lmteach
  lmteach store prune --teacher 2 --before 2026-01-31
  lmteach store prune --unread --yes
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lmteach.errors import StoreError

if TYPE_CHECKING:
    from lmteach.teaching.store import Store, TeacherStats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    stats = actions.add_parser("stats", help="what the store holds, a line a teacher")
    stats.add_argument("--json", action="store_true", help="print JSON")
    export = actions.add_parser("export", help="write every verdict as JSON lines")
    export.add_argument("file", type=Path, help="a .jsonl or .jsonl.gz file")
    export.add_argument(
        "--teacher", help="only this teacher's: its number in `stats`, or part of its identity"
    )
    import_ = actions.add_parser("import", help="read an export into the store; what is there stays as it is")
    import_.add_argument("file", type=Path)
    prune = actions.add_parser("prune", help="delete verdicts that fit every condition given")
    prune.add_argument("--teacher", help="its number in `stats`, or part of its identity")
    prune.add_argument(
        "--before", type=_day, metavar="DATE", help="written before this time (UTC), as 2026-01-31"
    )
    prune.add_argument("--run", help="paid for by this run")
    prune.add_argument("--unread", action="store_true", help="only answers that could not be read")
    prune.add_argument("--yes", action="store_true", help="delete; without it only the count is printed")
    for action in (stats, export, import_, prune):
        action.add_argument(
            "--store", default="runs/store.sqlite", help="a SQLite file or a PostgreSQL URL (%(default)s)"
        )


def run(args: argparse.Namespace) -> int:
    """Do the action; return the exit status."""
    from lmteach.teaching.store import Store

    with Store.open(args.store, create=args.action == "import") as store:
        if args.action == "stats":
            _stats(store, as_json=args.json)
        elif args.action == "export":
            _export(store, args)
        elif args.action == "import":
            _import(store, args.file)
        else:
            _prune(store, args)
    return 0


def _stats(store: Store, *, as_json: bool) -> None:
    found = store.stats()
    if as_json:
        print(json.dumps([_plain(stats) for stats in found], indent=2))
        return
    print(f"{store.place}: {sum(s.verdicts for s in found):,} verdicts of {len(found)} teachers")
    for number, s in enumerate(found, 1):
        read = s.verdicts - s.unread
        share = f"yes {s.yes / read:.1%}" if read else "none read"
        print(f"\n{number}. {s.identity}")
        print(f"   {s.verdicts:,} verdicts, {share}, unread {s.unread:,} ({s.unread / s.verdicts:.1%})")
        energy = "" if s.usage.joules is None else f", {s.usage.joules / 3.6e6:.3f} kWh"
        print(
            f"   {s.usage.prompt_tokens:,} + {s.usage.answer_tokens:,} tokens, {s.usage.seconds:,.0f} s,"
            f" {s.usage.usd:.2f} USD{energy}; {_when(s.first)} to {_when(s.last)}"
        )


def _export(store: Store, args: argparse.Namespace) -> None:
    from lmteach.teaching.store_transfer import export_store

    teacher = None if args.teacher is None else _pick(store, args.teacher)
    print(f"{export_store(store, args.file, teacher):,} verdicts written to {args.file}")


def _import(store: Store, file: Path) -> None:
    from lmteach.teaching.store_transfer import import_store

    n_new, n = import_store(store, file)
    print(f"{n_new:,} of {n:,} verdicts were new; {store.place} has them all")


def _prune(store: Store, args: argparse.Namespace) -> None:
    teacher = None if args.teacher is None else _pick(store, args.teacher)
    n = store.prune(
        teacher=teacher, before=args.before, run=args.run, unread=args.unread, dry_run=not args.yes
    )
    print(f"{n:,} verdicts deleted" if args.yes else f"{n:,} verdicts would be deleted; --yes deletes them")


def _pick(store: Store, wanted: str) -> str:
    """Return the one identity that is meant by its number in `stats`, its whole text or a part of it."""
    identities = [stats.identity for stats in store.stats()]
    if wanted in identities:
        return wanted
    if wanted.isdecimal() and 1 <= int(wanted) <= len(identities):
        return identities[int(wanted) - 1]
    found = [identity for identity in identities if wanted in identity]
    if len(found) == 1:
        return found[0]
    listed = "\n  ".join(found or identities)
    raise StoreError(
        f"'{wanted}' is part of {len(found)} teachers' identities."
        if found
        else f"No teacher is '{wanted}'.",
        where=store.place,
        mend=f"Name one of:\n  {listed}" if listed else "The store is empty.",
    )


def _day(text: str) -> float:
    when = datetime.datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _plain(stats: TeacherStats) -> dict[str, object]:
    usage = {name: getattr(stats.usage, name) for name in stats.usage.__slots__}
    counts = {name: getattr(stats, name) for name in ("identity", "verdicts", "yes", "unread")}
    return {**counts, **usage, "first": _when(stats.first), "last": _when(stats.last)}
