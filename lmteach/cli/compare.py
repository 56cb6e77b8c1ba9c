"""Compare two runs on the same test documents: paired bootstrap over what each document scored.

The first run is the base; a positive difference says that the second is better.

examples:
  lmteach compare runs/lmtx_quickstart runs/lmtx_quickstart_oracle
  lmteach compare runs/a runs/b --student untuned chosen --json difference.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lmteach.tracking.figures import bounds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("first", type=Path, metavar="A", help="a run folder: the base")
    parser.add_argument("second", type=Path, metavar="B", help="another run folder")
    parser.add_argument(
        "--student",
        nargs=2,
        default=["chosen", "chosen"],
        choices=["chosen", "untuned"],
        metavar=("OF_A", "OF_B"),
        help="which student of each: chosen or untuned (chosen chosen)",
    )
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    import dataclasses

    from lmteach.tracking.comparing import compare_runs
    from lmteach.tracking.console import Console
    from lmteach.tracking.run_folder import write_json

    found = compare_runs(
        args.first, args.second, students=tuple(args.student), resamples=args.resamples, seed=args.seed
    )
    if args.json is not None:
        write_json(args.json, dataclasses.asdict(found))
    rows = [
        [
            row.metric,
            f"{row.first:.4f}",
            f"{row.second:.4f}",
            f"{row.difference:+.4f} {bounds(row.low, row.high, '+.4f')}",
            f"{row.p_value:.3f}",
            f"{row.better:,} / {row.worse:,}",
        ]
        for row in found.rows
    ]
    heading = ["metric", "A", "B", "B - A, 95%", "p", "documents better / worse"]
    Console().table(
        f"A = {args.first}, B = {args.second}: {found.n_documents:,} test documents, paired bootstrap",
        heading,
        rows,
    )
    return 0
