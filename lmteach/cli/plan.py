"""Say what a recipe would cost, before anything is spent: judgements, tokens, time, money, disk.

Of a student on frozen backbones also what these have yet to read: texts, tokens, time, disk.

Judgements are (document, candidate) pairs. Those the store or the run's folder answers are taken off: exactly
where the shortlist is known, else the plan is an upper bound and says so.

examples:
  lmteach plan --recipe lmtx_quickstart.yaml
  lmteach plan --recipe lmtx_quickstart.yaml --shortlist corpus.n_train=500
  lmteach plan --recipe lmtx_debtags.yaml --probe
  lmteach plan --recipe llmembed_r8_small.yaml --probe 50
  lmteach plan --recipe lmtx_amazoncat.yaml --usd-per-hour 3 --json plan.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmteach.tracking.figures import duration

if TYPE_CHECKING:
    from lmteach.curriculum.costing import PartCost, Plan
    from lmteach.curriculum.planning import Stage
    from lmteach.tracking.console import Console

N_PROBED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from lmteach.cli.show import add_recipe_arguments

    add_recipe_arguments(parser)
    parser.add_argument(
        "--shortlist",
        action="store_true",
        help="encode with the untuned student, to look up the first cycle's pairs in the store",
    )
    parser.add_argument(
        "--probe",
        nargs="?",
        type=int,
        const=N_PROBED,
        metavar="N",
        help="judge N documents (default %(const)s) and time it; the verdicts are kept in the store; "
        "frozen backbones read as many",
    )
    parser.add_argument(
        "--sample", type=int, default=50, metavar="N", help="documents to count tokens on (50)"
    )
    parser.add_argument(
        "--prices", type=Path, metavar="FILE", help="a price table over the shipped one (YAML)"
    )
    parser.add_argument("--usd-per-hour", type=float, metavar="USD", help="price of the teacher's machine")
    parser.add_argument(
        "--tflops",
        type=float,
        metavar="RATE",
        help="that machine's rate in TFLOP/s; measured here without it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the plan")


def run(args: argparse.Namespace) -> int:
    """Print the plan; spend nothing, but for what `--probe` judges."""
    from lmteach.errors import LmteachError
    from lmteach.recipe.load import load_recipe

    for option, least in (("probe", 1), ("sample", 1), ("usd_per_hour", 0), ("tflops", 1e-6)):
        value = getattr(args, option)
        if value is not None and not value >= least:
            raise LmteachError(f"--{option.replace('_', '-')} is {value}; it must be {least} or more.")
    recipe = load_recipe(args.recipe, args.overrides).recipe
    from lmteach.curriculum.costing import Machine, cost
    from lmteach.curriculum.planning import lay_groundwork
    from lmteach.teaching.prices import PriceTable
    from lmteach.tracking.console import Console

    PriceTable.load(args.prices)  # a faulty one is found before anything is encoded
    console = Console(quiet=args.quiet)
    n_sample = max(args.sample, (args.probe or 0) + 1)
    work = lay_groundwork(recipe, console, with_shortlist=args.shortlist, n_sample=n_sample)
    timed, read = None, []
    if args.probe is not None:
        from lmteach.curriculum.class_planning import probe_classes
        from lmteach.curriculum.feature_planning import probe_reading
        from lmteach.curriculum.probing import probe

        timed = (probe if recipe.student.kind == "tagger" else probe_classes)(work, console, args.probe)
        read = [probe_reading(recipe, planned, args.probe) for planned in work.passes]
    machine = Machine(args.usd_per_hour, None if args.tflops is None else args.tflops * 1e12)
    plan = cost(work, prices=args.prices, machine=machine, timed=timed, read=read)
    if args.json is not None:
        from lmteach.tracking.run_folder import write_json

        write_json(args.json, plan.to_dict())
    show(plan, console)
    return 0


def show(plan: Plan, console: Console) -> None:
    """Print a plan."""
    sizes = plan.sizes
    counts = (
        f"{sizes.train:,} train, {sizes.dev:,} dev, {sizes.test:,} test documents, {sizes.labels:,} labels"
    )
    print(f"{plan.recipe}: {counts} ({'by the catalogue' if sizes.missing else sizes.name})")
    console.table(
        "judgements", ["", "documents", "at most", "there already", "to make"], list(_rows(plan.stages))
    )
    for text, value in _lines(plan):
        print(f"{text:<12} {value}")
    for note in ([sizes.missing] if sizes.missing else []) + plan.notes:
        print(f"note: {note}")


def _rows(stages: Sequence[Stage]) -> Iterator[list[str]]:
    for split in ("train", "dev", "extra"):
        own = [s for s in stages if (s.cycle, s.split) == (0, split)]
        if own or split != "extra":
            yield _row(f"cycle 0 {split}", own)
    later = [stage for stage in stages if stage.cycle]
    if later:
        last = later[-1].cycle
        yield _row("cycle 1" if last == 1 else f"cycles 1 to {last}", later)
        yield _row("all cycles", stages)


def _row(name: str, stages: Sequence[Stage]) -> list[str]:
    there = sum(stage.n_pairs - stage.n_to_make for stage in stages)
    bound = "" if all(stage.exact for stage in stages) else "<= "
    return [
        name,
        f"{sum(stage.n_documents for stage in stages):,}",
        f"{sum(stage.n_pairs for stage in stages):,}",
        f"{'>= ' if bound else ''}{there:,}",
        f"{bound}{sum(stage.n_to_make for stage in stages):,}",
    ]


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    for first, all_ in zip(plan.first, plan.at_most, strict=True):
        yield "teacher", first.teacher
        for name, unit in (("tokens", _count), ("seconds", duration), ("usd", _dollars)):
            shown = _range(first, all_, name, unit)
            yield f"  {'money' if name == 'usd' else 'time' if name == 'seconds' else name}", shown
    for part in plan.next_labels:
        tokens, seconds, usd = part.tokens, part.seconds, part.usd
        costs = [
            "unknown tokens" if tokens is None else f"{_count(tokens)} tokens",
            "unknown time" if seconds is None else duration(seconds),
            "unknown money" if usd is None else _dollars(usd),
        ]
        yield "next 1,000", f"documents labelled would cost {', '.join(costs)} of {part.teacher}"
    if not plan.first:
        yield "teacher", "none judges candidates"
    for pass_ in plan.extraction:
        there = pass_.texts - pass_.to_read
        yield "features", f"{pass_.backbones}: {pass_.texts:,} texts, {there:,} there already"
        yield "  tokens", _known(pass_.tokens, _count, pass_.tokens_how)
        yield "  time", _known(pass_.seconds, duration, pass_.seconds_how)
        how = "the model's width is not known here" if pass_.bytes is None else "vectors of the texts to read"
        yield "  disk", _known(pass_.bytes, _bytes, how)
    yield "disk", _disk(plan)
    if plan.budget:
        caps = ", ".join(f"budget.{key} = {cap:g}" for key, cap in plan.budget.items())
        yield "budget", f"labelling stops at {caps}"


def _range(first: PartCost, all_: PartCost, name: str, unit: object) -> str:
    assert callable(unit)
    low, high = getattr(first, name), getattr(all_, name)
    how = getattr(first, f"{name}_how")
    if low is None or high is None:
        return f"unknown: {how}"
    return f"{unit(low)} in cycle 0, at most {unit(high)} in all ({how})" if high else f"{unit(high)} ({how})"


def _known(value: float | None, unit: Callable[[float], str], how: str) -> str:
    return f"unknown: {how}" if value is None else f"{unit(value)} ({how})"


def _disk(plan: Plan) -> str:
    disk = plan.disk
    students = "unknown" if disk.students is None else _bytes(disk.students)
    vectors = "" if disk.label_vectors is None else f", label vectors {_bytes(disk.label_vectors)}"
    return f"store {_bytes(disk.store)}, shortlists {_bytes(disk.shortlists)}, students {students}{vectors}"


def _count(value: float) -> str:
    return f"{value / 1e6:,.1f} million" if value >= 1e6 else f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"{value:,.2f} USD"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
