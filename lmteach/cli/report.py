"""Write runs up: one HTML page that needs no network, or tables on the terminal.

Several runs are set side by side and compared with the first, document by document.

examples:
  lmteach report runs/lmtx_quickstart --output report.html
  lmteach report runs/lmtx_debtags --oracle runs/lmtx_debtags_oracle
  lmteach report runs/a runs/b --text
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where the page goes (report.html in the first run's folder)",
    )
    parser.add_argument("--text", action="store_true", help="tables on the terminal, no page")
    parser.add_argument(
        "--oracle", type=Path, metavar="RUN", help="a run of the same recipe taught by gold: the ceiling"
    )
    parser.add_argument(
        "--hardest", type=int, default=12, metavar="N", help="hardest documents to show (%(default)s)"
    )
    parser.add_argument(
        "--no-corpus", action="store_true", help="without the corpus's texts and training gold"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers too")


def run(args: argparse.Namespace) -> int:
    """Gather, write, say where."""
    from lmteach.errors import LmteachError

    if args.hardest < 0:
        raise LmteachError(f"--hardest is {args.hardest}; it must be 0 or more.")
    if args.text and args.output is not None:
        raise LmteachError(
            "--text writes no page, so --output has nothing to take.", mend="Leave one of them out."
        )
    from lmteach.tracking.console import Console
    from lmteach.tracking.report.facts import gather, to_dict
    from lmteach.tracking.run_folder import write_json, write_whole

    options = {"n_hardest": args.hardest, "with_corpus": not args.no_corpus}
    runs = [gather(path, **options) for path in args.runs]
    oracle = None if args.oracle is None else gather(args.oracle, n_hardest=0, with_corpus=False)
    if args.json is not None:
        write_json(args.json, [to_dict(facts) for facts in runs])
    if args.text:
        from lmteach.tracking.report.text import print_report

        print_report(Console(), runs, oracle)
        return 0
    from lmteach.tracking.report.page import build_page

    page, path = build_page(runs, oracle), args.output or args.runs[0] / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    print(f"{path}: {len(page.encode()) / 1000:,.0f} kB")
    return 0
