"""Each chart of a report: the numbers behind it as plain rows, and the plot of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmteach.tracking.figures import bounds
from lmteach.tracking.report.buckets import Bucket
from lmteach.tracking.report.facts import Measure, RunFacts
from lmteach.tracking.report.svg import Frame, Plot, nice_ticks
from lmteach.tracking.report.teacher_facts import TeacherFacts

COLOURS = ("blue", "orange", "green", "purple", "red", "grey")


@dataclass(frozen=True)
class CyclePoint:
    """One student in order of making: `x` 0 is the untuned one."""

    x: int
    name: str
    value: Measure
    dev_p1: float | None


@dataclass(frozen=True)
class CycleChart:
    """A metric by cycle. `floor` is the untuned student's, `ceiling` what an oracle would reach, `source` which."""

    metric: str
    points: list[CyclePoint]
    floor: float | None
    ceiling: float | None
    source: str


def by_cycle(facts: RunFacts, metric: str, oracle: RunFacts | None = None) -> CycleChart:
    """Return a metric of each student in the order they were made.

    Args:
        oracle: the same recipe taught by gold: its kept student is the ceiling; without it, for P@k, what a
            perfect judge of the first shortlists would reach on training documents.
    """
    dev = {f"cycle {event['cycle']}": event.get("dev_p1") for event in facts.cycles}
    points = [
        CyclePoint(x, name, metrics[metric], dev.get(name) if metric == "p@1" else None)
        for x, (name, metrics) in enumerate(facts.students.items())
        if metric in metrics
    ]
    floor = facts.untuned_metrics.get(metric)
    ceiling, source = _ceiling(facts, metric, oracle)
    return CycleChart(metric, points, None if floor is None else floor.mean, ceiling, source)


def _ceiling(facts: RunFacts, metric: str, oracle: RunFacts | None) -> tuple[float | None, str]:
    if oracle is not None and metric in oracle.chosen_metrics:
        return oracle.chosen_metrics[metric].mean, f"the student of {oracle.name}, taught by gold"
    kind, _, k = metric.partition("@")
    if kind == "p" and facts.teacher is not None and int(k) in facts.teacher.ceiling:
        n = facts.teacher.n_judged
        found = f"the {n} candidates that the first cycle found for training documents"
        return facts.teacher.ceiling[int(k)], f"what a judge without fault would make of {found}"
    return None, ""


def draw_cycles(chart: CycleChart) -> str:
    """Draw a metric by cycle with intervals, floor and ceiling."""
    values = [v for p in chart.points for v in (p.value.mean, p.value.high, p.dev_p1) if v is not None]
    values += [v for v in (chart.floor, chart.ceiling) if v is not None]
    ticks = nice_ticks(0.0, max(values, default=1.0))
    last = max((point.x for point in chart.points), default=0)
    frame = Frame((-0.4, last + 0.4), (0.0, ticks[-1]), right=46)
    plot = Plot(frame, f"{heading(chart.metric)} by cycle, 95% intervals")
    plot.y_axis(ticks)
    plot.x_axis([(point.x, point.name) for point in chart.points])
    if chart.floor is not None:
        plot.level(chart.floor, "grey", f"{chart.floor:.3f}")
    if chart.ceiling is not None:
        plot.level(chart.ceiling, "green", f"{chart.ceiling:.3f}")
    plot.line([(point.x, point.value.mean) for point in chart.points], "blue")
    for point in chart.points:
        value = point.value
        tip = f"{point.name}: {show(value)}"
        if value.low is not None and value.high is not None:
            plot.whisker(point.x, value.low, value.high, "blue")
        plot.dot(point.x, value.mean, "blue", tip)
        if point.dev_p1 is not None:
            plot.dot(
                point.x + 0.12,
                point.dev_p1,
                "orange",
                f"{point.name}: {point.dev_p1:.3f} on dev, by the teacher",
            )
    return plot.render()


def draw_ranks(teacher: TeacherFacts) -> str:
    """Draw the teacher's yes-rate at each place of the shortlist, with Wilson's intervals, and gold's share."""
    rows = teacher.ranks
    top = max([row.yes.interval.high for row in rows] + [row.gold or 0.0 for row in rows], default=1.0)
    ticks = nice_ticks(0.0, min(1.0, top))
    first, last = rows[0].rank, rows[-1].rank
    plot = Plot(Frame((first - 0.7, last + 0.7), (0.0, ticks[-1])), "yes-rate by place in the shortlist")
    plot.y_axis(ticks, "{:.0%}")
    step = max(1, len(rows) // 10)
    plot.x_axis([(row.rank, str(row.rank)) for row in rows[::step]], "place in the shortlist")
    for row in rows:
        share = row.yes.interval
        plot.bar(
            row.rank,
            0.62,
            share.mean,
            "blue",
            f"place {row.rank}: yes {share.mean:.1%} of {row.yes.n_read:,}",
        )
        plot.whisker(row.rank, share.low, share.high, "ink")
        if row.gold is not None:
            plot.dot(row.rank, row.gold, "orange", f"place {row.rank}: gold {row.gold:.1%}")
    return plot.render()


def draw_recall(teacher: TeacherFacts) -> str:
    """Draw what share of gold stands among the first k candidates, a line a cycle."""
    deepest = max(len(shares) for shares in teacher.recall_by_k.values())
    top = max(max(shares) for shares in teacher.recall_by_k.values())
    ticks = nice_ticks(0.0, min(1.0, top))
    plot = Plot(Frame((0.5, deepest + 0.5), (0.0, ticks[-1])), "gold found among the first k candidates")
    plot.y_axis(ticks, "{:.0%}")
    marks = sorted({1, *range(5, deepest + 1, 5), deepest})
    if len(marks) > 8:
        marks = sorted({1, *range(10, deepest + 1, 10), deepest})
    plot.x_axis([(k, str(k)) for k in marks], "candidates k")
    if 1 <= teacher.n_judged <= deepest:
        at = plot.frame.at_x(teacher.n_judged)
        plot.upright(teacher.n_judged, "grey")
        side = "end" if teacher.n_judged > deepest / 2 else "start"
        plot.text(
            at + (-5 if side == "end" else 5),
            plot.frame.height - plot.frame.bottom - 6,
            "judged",
            anchor=side,
            css="name t-grey",
        )
    for colour, (name, shares) in zip(
        colours(len(teacher.recall_by_k)), teacher.recall_by_k.items(), strict=True
    ):
        plot.line([(k + 1, share) for k, share in enumerate(shares)], colour, name)
        for k in marks:
            if k <= len(shares):
                plot.dot(k, shares[k - 1], colour, f"{name}: {shares[k - 1]:.1%} within {k}", radius=2.5)
    return plot.render()


def draw_buckets(buckets: Sequence[Bucket]) -> str:
    """Draw the recall of frequent and rare labels, a bar a student."""
    students = list(buckets[0].recall)
    top = max(
        (share for bucket in buckets for share in bucket.recall.values() if share == share), default=1.0
    )
    ticks = nice_ticks(0.0, min(1.0, top))
    plot = Plot(Frame((-0.5, len(buckets) - 0.5), (0.0, ticks[-1])), "recall of head, torso and tail labels")
    plot.y_axis(ticks, "{:.0%}")
    plot.x_axis([(x, f"{b.name} ({b.n_labels:,} labels)") for x, b in enumerate(buckets)])
    width = 0.7 / len(students)
    for s, student in enumerate(students):
        for x, bucket in enumerate(buckets):
            share = bucket.recall[student]
            if share == share:
                at = x + (s - (len(students) - 1) / 2) * width
                plot.bar(
                    at, width * 0.92, share, bucket_colour(student), f"{bucket.name}, {student}: {share:.1%}"
                )
    return plot.render()


def bucket_colour(student: str) -> str:
    """Return a student's colour in the chart of buckets."""
    return "grey" if student == "untuned" else "blue"


def draw_costs(cycles: Sequence[Mapping[str, object]]) -> str:
    """Draw the judgements of each cycle: made, and answered by the store."""
    rows = judgements_by_cycle(cycles)
    ticks = nice_ticks(0.0, max((made + stored for _, made, stored in rows), default=1) or 1)
    plot = Plot(Frame((-0.6, len(rows) - 0.4), (0.0, ticks[-1]), left=56), "judgements by cycle")
    plot.y_axis(ticks, "{:,.0f}")
    plot.x_axis([(x, name) for x, (name, _, _) in enumerate(rows)])
    for x, (name, made, stored) in enumerate(rows):
        plot.bar(x, 0.5, made, "blue", f"{name}: {made:,} made")
        plot.bar(x, 0.5, stored, "green", f"{name}: {stored:,} from the store", base=made)
    return plot.render()


def judgements_by_cycle(cycles: Sequence[Mapping[str, object]]) -> list[tuple[str, int, int]]:
    """Return, for each cycle, its name, the judgements made and those from the store."""
    return [
        (
            f"cycle {event['cycle']}",
            int(str(event.get("judgements", 0))),
            int(str(event.get("from_store", 0))),
        )
        for event in cycles
    ]


def draw_losses(losses: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Draw the training loss, a line a training."""
    points = [point for line in losses.values() for point in line]
    ticks = nice_ticks(0.0, max(loss for _, loss in points))
    last = max(step for step, _ in points)
    plot = Plot(Frame((0, max(1, last)), (0.0, ticks[-1]), left=58), "training loss by step")
    plot.y_axis(ticks, "{:g}")
    plot.x_axis([(tick, f"{tick:,.0f}") for tick in nice_ticks(0, max(1, last)) if tick <= last], "step")
    for colour, (name, line) in zip(colours(len(losses)), losses.items(), strict=True):
        plot.line(line, colour, name)
        if len(line) == 1:
            plot.dot(*line[0], colour, name)
    return plot.render()


def draw_runs(runs: Sequence[RunFacts], metric: str) -> str:
    """Draw a metric of several runs with its intervals, untuned and kept student."""
    values = [
        m
        for facts in runs
        for m in (facts.chosen_metrics.get(metric), facts.untuned_metrics.get(metric))
        if m
    ]
    ticks = nice_ticks(0.0, max([value.high or value.mean for value in values], default=1.0))
    plot = Plot(Frame((-0.5, len(runs) - 0.5), (0.0, ticks[-1])), f"{heading(metric)} of {len(runs)} runs")
    plot.y_axis(ticks)
    plot.x_axis([(x, letter(x)) for x in range(len(runs))])
    for x, facts in enumerate(runs):
        for student, colour, shift in (
            (facts.untuned_metrics, "grey", -0.1),
            (facts.chosen_metrics, "blue", 0.1),
        ):
            value = student.get(metric)
            if value is None:
                continue
            if value.low is not None and value.high is not None:
                plot.whisker(x + shift, value.low, value.high, colour)
            plot.dot(x + shift, value.mean, colour, f"{facts.name}: {show(value)}")
    return plot.render()


def letter(place: int) -> str:
    """Return what the run at a place is called where several are compared: A, B, ..., Z, A2, B2, ..."""
    again, i = divmod(place, 26)
    return chr(ord("A") + i) + (str(again + 1) if again else "")


def heading(metric: str) -> str:
    """Return a metric's name as the papers write it."""
    kind, at, k = metric.partition("@")
    names = {"p": "P", "r": "R", "ndcg": "nDCG", "psp": "PSP", "psndcg": "PSnDCG", "ece": "ECE"}
    return names.get(kind, kind.replace("_", " ")) + at + k


def show(value: Measure) -> str:
    """Return a metric with its interval, if it has one."""
    if value.low is None or value.high is None:
        return f"{value.mean:.3f}"
    return f"{value.mean:.3f} {bounds(value.low, value.high)}"


def colours(n: int) -> list[str]:
    """Return n colours, from the first on again where there are more than colours."""
    return [COLOURS[i % len(COLOURS)] for i in range(n)]
