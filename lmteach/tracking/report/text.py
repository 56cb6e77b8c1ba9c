"""A report for the terminal: the tables of the page, without its pictures."""

from __future__ import annotations

from collections.abc import Sequence

from lmteach.tracking.console import Console
from lmteach.tracking.figures import bounds
from lmteach.tracking.report.charts import by_cycle, heading, show
from lmteach.tracking.report.class_sections import (
    LABEL_COLUMNS,
    MOST_CLASSES,
    class_columns,
    class_rows,
    label_rows,
)
from lmteach.tracking.report.facts import RunFacts
from lmteach.tracking.report.paper import READ, find_tables
from lmteach.tracking.report.sections import TABLED, cost_rows
from lmteach.tracking.report.several import COMPARED, pair_up, quoted_rows

BAR = 30  # characters of a full bar
FEW = 5  # hardest documents shown


def print_report(console: Console, runs: Sequence[RunFacts], oracle: RunFacts | None = None) -> None:
    """Print runs one after the other, then how they differ."""
    for facts in runs:
        _print_run(console, facts, oracle)
    if len(runs) > 1:
        _print_differences(console, runs)
    for corpus in dict.fromkeys(facts.corpus_name for facts in runs):
        for found in find_tables(corpus):
            metrics = list(dict.fromkeys(m for row in found.rows.values() for m in row))
            rows = [
                [name, *(f"{row[m]:.4f}" if m in row else "" for m in metrics)]
                for name, row in found.rows.items()
            ]
            print(f"published on {corpus}: {found.source}; {READ[found.read]}")
            console.table("", ["method", *map(heading, metrics)], rows)


def _print_run(console: Console, facts: RunFacts, oracle: RunFacts | None) -> None:
    print(f"{facts.name}: {facts.corpus_name}, {facts.path}")
    for note in facts.notes:
        print(f"note: {note}")
    shown = [m for m in TABLED if m in facts.chosen_metrics][:6]
    rows = [
        [name + " (kept)" * (name == facts.chosen), *(show(v[m]) if m in v else "" for m in shown)]
        for name, v in facts.students.items()
    ]
    if rows:
        console.table("quality on held-out documents", ["student", *map(heading, shown)], rows)
    for metric in ("p@1", "p@5"):
        chart = by_cycle(facts, metric, oracle)
        if chart.ceiling is not None:
            print(f"ceiling of {heading(metric)}: {chart.ceiling:.3f}, {chart.source}")
    _print_teacher(console, facts)
    if facts.buckets:
        students = list(facts.buckets[0].recall)
        rows = [
            [
                b.name,
                f"{b.n_labels:,}",
                f"{b.least:,} to {b.most:,}",
                *(f"{b.recall[s]:.1%}" for s in students),
            ]
            for b in facts.buckets
        ]
        columns = ["labels", "n", "in training", *(f"R@{facts.buckets[0].k}, {s}" for s in students)]
        console.table("frequent and rare labels", columns, rows)
    if labelled := label_rows(facts):
        console.table("the teacher's labels", LABEL_COLUMNS, labelled)
    if told := class_rows(facts)[:MOST_CLASSES]:
        console.table("classes", class_columns(facts), told)
    if facts.recipe.paper:
        rows = quoted_rows(facts)
        console.table("accuracy in %", ["supervision", "the recipe's paper", "here"], rows)
    if facts.cost is not None:
        console.table("cost", ["", "spent", "saved by the store"], cost_rows(facts.cost))
    for document in facts.hardest[:FEW]:
        tags = ", ".join(("+" if tag.right else "-") + tag.name for tag in document.tags)
        print(f"hard: {document.title or document.id or document.row}\n  {document.text[:140]}")
        print(f"  tags: {tags}\n  gold: {', '.join(document.gold)}")


def _print_teacher(console: Console, facts: RunFacts) -> None:
    found = facts.teacher
    if found is None:
        return
    view = found.overview
    print(
        f"teacher: {found.title}; yes {view.yes_rate.mean:.1%} of {view.n_pairs:,} verdicts, unread {view.n_unread:,}"
    )
    rows = [
        [
            str(row.rank),
            f"{row.yes.share:.1%}",
            "" if row.gold is None else f"{row.gold:.1%}",
            "#" * round(BAR * row.yes.share) if row.yes.n_read else "",
        ]
        for row in found.ranks
    ]
    console.table(f"yes-rate by place, cycle {found.cycle}", ["place", "yes", "gold", ""], rows)
    if found.recall_by_k:
        depth = max(map(len, found.recall_by_k.values()))
        marks = [k for k in (1, 3, 5, 10, 20, 30, 50, 100) if k <= depth]
        rows = [[name, *(f"{s[k - 1]:.1%}" for k in marks)] for name, s in found.recall_by_k.items() if s]
        console.table(
            "gold among the first k candidates", ["shortlist of", *(f"k = {k}" for k in marks)], rows
        )


def _print_differences(console: Console, runs: Sequence[RunFacts]) -> None:
    settings = runs[0].recipe.evaluation
    rows = []
    for pairing in pair_up(runs, resamples=settings.resamples, seed=runs[0].recipe.seed):
        if pairing.found is None:
            print(f"{pairing.run.name} against {runs[0].name}: {pairing.why}")
            continue
        rows += [
            [
                f"{pairing.run.name} - {runs[0].name}",
                heading(row.metric),
                f"{row.difference:+.4f} {bounds(row.low, row.high, '+.4f')}",
                f"{row.p_value:.3f}",
            ]
            for row in pairing.found.rows
            if row.metric in COMPARED
        ]
    if rows:
        console.table("paired bootstrap over documents", ["runs", "metric", "difference, 95%", "p"], rows)
