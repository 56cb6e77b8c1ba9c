"""Run a sweep over recipe keys, here and now, without W&B: a grid or a random search.

FILE is what `wandb sweep FILE` reads; `wandb agent` runs the same trials on many machines. All trials share the
recipe's store, so no judgement is paid for twice, and each has a run folder of its own. Run the same command
again after a kill: finished trials are skipped, the one that was cut off goes on.

examples:
  lmteach sweep teachers.yaml
  lmteach sweep recipes/sweeps/shortlist.yaml corpus.n_train=200
  lmteach sweep mine.yaml --trials 20 --seed 1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmteach.curriculum.sweep_file import Sweep
    from lmteach.curriculum.sweeping import TrialResult
    from lmteach.tracking.console import Console

SHOWN = ("dev_p1", "test/p@1", "test/ndcg@5", "test/accuracy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("file", metavar="FILE", help="a sweep's YAML, or the name of a shipped one")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="override a recipe key in all trials"
    )
    parser.add_argument("--trials", type=int, metavar="N", help="how many; all of a grid without it")
    parser.add_argument("--seed", type=int, default=0, help="of a random search (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the trials' run folders go (runs/sweeps/NAME)"
    )
    parser.add_argument("--list", action="store_true", help="print the trials, run none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")


def run(args: argparse.Namespace) -> int:
    """Plan the trials, run what is not done, print the table; 1 if a trial failed."""
    from lmteach.curriculum.sweep_file import read_sweep
    from lmteach.curriculum.sweeping import best_first, plan_trials, run_sweep
    from lmteach.errors import LmteachError
    from lmteach.tracking.console import Console
    from lmteach.tracking.run_folder import write_json

    if args.trials is not None and args.trials < 1:
        raise LmteachError(f"--trials is {args.trials}; it must be 1 or more.")
    sweep, console = read_sweep(args.file), Console()
    folder = args.folder or Path("runs/sweeps") / sweep.name
    trials = plan_trials(sweep, folder, n_trials=args.trials, seed=args.seed, overrides=args.overrides)
    if args.list:
        for trial in trials:
            state = "finished" if trial.finished else "to do"
            print(f"{trial.folder}  {state}  {' '.join(f'{k}={v}' for k, v in trial.values.items())}")
        return 0
    results = best_first(sweep, run_sweep(sweep, trials, run=_run_lmteach, say=console.say))
    if args.json is not None:
        plain = [
            {
                "folder": str(r.trial.folder),
                "values": dict(r.trial.values),
                "numbers": dict(r.numbers),
                "failed": r.failed,
            }
            for r in results
        ]
        write_json(args.json, plain)
    _print(console, sweep, results)
    return int(any(result.failed for result in results))


def _run_lmteach(arguments: Sequence[str]) -> int:
    """Run lmteach as a process of its own, as an agent would: so values reach every rank of a distributed run."""
    import subprocess
    import sys

    # Its table is for a single run; the sweep prints one of all.
    command = [sys.executable, "-m", "lmteach.cli.main", *arguments]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


def _print(console: Console, sweep: Sweep, results: Sequence[TrialResult]) -> None:
    varied = [
        key
        for key in sweep.parameters
        if len({str(result.trial.values[key]) for result in results}) > 1 or len(results) == 1
    ]
    there = {name for result in results for name in result.numbers}
    metrics = [name for name in dict.fromkeys((sweep.metric, *SHOWN)) if name in there]
    rows = [
        [
            ", ".join(_short(str(result.trial.values[key])) for key in varied) or "-",
            *(_number(result.numbers.get(name)) for name in metrics),
            "failed" if result.failed else f"{int(result.numbers.get('judgements', 0)):,}",
            "" if result.failed else f"{int(result.numbers.get('from_store', 0)):,}",
            "" if result.failed else f"{float(result.numbers.get('seconds', 0)):,.0f}",
            result.trial.folder.name,
        ]
        for result in results
    ]
    columns = [
        ", ".join(varied) or "trial",
        *metrics,
        "judgements made",
        "from the store",
        "seconds",
        "folder",
    ]
    console.table(f"{sweep.name}: {len(results)} trials, best {sweep.metric} first", columns, rows)
    made = sum(int(result.numbers.get("judgements", 0)) for result in results)
    stored = sum(int(result.numbers.get("from_store", 0)) for result in results)
    if made + stored:
        print(
            f"{made:,} judgements were made and {stored:,} taken from the store, which saved "
            f"{stored / (made + stored):.0%} of what {len(results)} runs apart would have asked"
        )


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""


def _short(value: str) -> str:
    return value if len(value) <= 70 else value[:67] + "..."
