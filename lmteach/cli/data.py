"""List the known data sets, say what a set lacks, or put its files where recipes find them.

examples:
  lmteach data
  lmteach data amazoncat-13k
  lmteach data amazoncat-13k --from ~/Downloads/AmazonCat-13K.raw.zip
  lmteach data imdb --from ~/Downloads/aclImdb_v1.tar.gz
  lmteach data eurlex-4k --from ~/Downloads/eurlex-4k.tar.gz --to /data/eurlex-4k

Sets lie under $LMTEACH_DATA, or ./data; recipes look there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lmteach.corpus.catalog import CATALOG, KnownSet, data_root, find_known
from lmteach.errors import CorpusError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the set's name, and where its files come from and go to."""
    parser.add_argument("name", nargs="?", help="a known set; all are listed without one")
    parser.add_argument(
        "--from", dest="origin", type=Path, metavar="ARCHIVE", help="a .zip or .tar.gz archive, or a folder"
    )
    parser.add_argument(
        "--to", dest="folder", type=Path, metavar="DIR", help="the folder to put it in ($LMTEACH_DATA/NAME)"
    )


def run(args: argparse.Namespace) -> int:
    """List, describe or place; return the exit status: 1 if the set asked about is not there."""
    if args.name is None:
        if args.origin or args.folder:
            raise CorpusError("Which data set is it?", mend="lmteach data NAME --from ARCHIVE")
        _list()
        return 0
    known = find_known(args.name)
    folder = args.folder or known.folder()
    if args.origin is not None and known.layouts:
        return _place(known, args.origin, folder)
    print(_describe(known))
    if known.layouts and known.found(folder) is None:
        print(f"lmteach: {known.missing_error(folder)}", file=sys.stderr)
        return 1
    return 0


def _list() -> None:
    print(f"{'name':<20} {'labels':>7} {'train':>9} {'test':>7}  {'there':<5}  about")
    for known in CATALOG.values():
        there = "yes" if not known.layouts or known.found(known.folder()) else "no"
        sizes = (known.n_labels, known.counts.get("train"), known.counts.get("test"))
        labels, train, test = ("-" if size is None else f"{size:,}" for size in sizes)
        print(f"{known.name:<20} {labels:>7} {train:>9} {test:>7}  {there:<5}  {known.about}")
    print(f"\nlooked for in {data_root()}; `lmteach data NAME` says where a set comes from")


def _describe(known: KnownSet) -> str:
    lines = [f"{known.name}: {known.about}"]
    if known.counts:
        counts = ", ".join(f"{n:,} {split}" for split, n in known.counts.items())
        lines.append(f"  documents  {counts}")
    if known.n_labels:
        lines.append(f"  labels     {known.n_labels:,}")
    lines += [f"  origin     {known.origin}", f"  licence    {known.licence}"]
    if known.note:
        lines.append(f"  note       {known.note}")
    folder = known.folder()
    if known.layouts and known.found(folder):
        lines.append(f"  there      {folder}")
    return "\n".join(lines)


def _place(known: KnownSet, origin: Path, folder: Path) -> int:
    from lmteach.corpus.placing import place

    print(f"{known.name}: taking its files out of {origin} and checking every document", file=sys.stderr)
    counts = place(known, origin, folder)
    print(f"{known.name} lies in {folder}: {', '.join(f'{n:,} {what}' for what, n in counts.items())}")
    return 0
