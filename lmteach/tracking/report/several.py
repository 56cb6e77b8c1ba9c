"""Several runs side by side: metrics, paired differences from the first, and published figures on the same corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmteach.errors import LmteachError
from lmteach.tracking.comparing import Comparison, check_comparable, compare_scores
from lmteach.tracking.figures import bounds
from lmteach.tracking.report import charts
from lmteach.tracking.report.charts import heading, show
from lmteach.tracking.report.facts import RunFacts
from lmteach.tracking.report.html import card, escape, table
from lmteach.tracking.report.paper import READ, find_tables

COMPARED = ("p@1", "p@3", "p@5", "r@10", "ndcg@5", "psp@5", "accuracy", "macro_f1")


@dataclass(frozen=True)
class Pairing:
    """One run against the first; `found` is None, and `why` says why, where they cannot be compared."""

    run: RunFacts
    found: Comparison | None
    why: str


def pair_up(runs: Sequence[RunFacts], *, resamples: int = 1000, seed: int = 0) -> list[Pairing]:
    """Compare each run but the first with the first, document by document."""
    first, pairings = runs[0], []
    for other in runs[1:]:
        try:
            if first.scores is None or other.scores is None:
                raise LmteachError("One of the two has kept no scores of single test documents.")
            check_comparable(first.scores, other.scores, f"{first.path} and {other.path}")
            a, b = (facts.scores.values[facts.scores.chosen] for facts in (first, other) if facts.scores)
            pairings.append(Pairing(other, compare_scores(a, b, resamples=resamples, seed=seed), ""))
        except LmteachError as error:
            pairings.append(Pairing(other, None, error.what))
    return pairings


def told_apart(runs: Sequence[RunFacts]) -> list[str]:
    """Return the runs' names, with their folders' where two have the same."""
    names = [facts.name for facts in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({facts.path.name})"
        for name, facts in zip(names, runs, strict=True)
    ]


def side_by_side(runs: Sequence[RunFacts], pairings: Sequence[Pairing]) -> str:
    """Return the comparison of several runs; "" for one."""
    if len(runs) < 2:
        return ""
    metrics = [m for m in COMPARED if all(m in facts.chosen_metrics for facts in runs)]
    letters = [charts.letter(i) for i in range(len(runs))]
    keys = [("blue", "kept student")]
    if any(facts.untuned_metrics for facts in runs):
        keys.insert(0, ("grey", "untuned"))
    cards = [card(heading(m), "", charts.draw_runs(runs, m), keys) for m in metrics[:3]]
    rows = [
        [
            f"{letter}: {name}",
            _teacher(facts),
            *(show(facts.chosen_metrics[m]) for m in metrics),
            "" if facts.cost is None else f"{facts.cost.judgements:,}",
            "" if facts.cost is None else f"{facts.cost.from_store:,}",
        ]
        for letter, name, facts in zip(letters, told_apart(runs), runs, strict=True)
    ]
    columns = ["run", "teacher", *map(heading, metrics), "judgements", "from the store"]
    return (
        f'<h2>Runs compared</h2><div class="grid">{"".join(cards)}</div>{table(columns, rows)}'
        + _differences(letters, pairings)
    )


def _differences(letters: Sequence[str], pairings: Sequence[Pairing]) -> str:
    rows, notes = [], []
    for letter, pairing in zip(letters[1:], pairings, strict=True):
        if pairing.found is None:
            notes.append(f"<p class='note'>{letter} against A: {escape(pairing.why)}</p>")
            continue
        rows += [
            [
                f"{letter} - A",
                heading(row.metric),
                f"{row.difference:+.4f}",
                bounds(row.low, row.high, "+.4f"),
                f"{row.p_value:.3f}",
                f"{row.better:,} / {row.worse:,}",
            ]
            for row in pairing.found.rows
            if row.metric in COMPARED
        ]
    columns = ["runs", "metric", "difference", "95% interval", "p", "documents better / worse"]
    found = "<h3>Differences by document, paired bootstrap</h3>" + table(columns, rows) if rows else ""
    return found + "".join(notes)


def published(runs: Sequence[RunFacts]) -> str:
    """Return published figures on the runs' corpora, with the runs' own rows among them."""
    parts = [_quoted(facts) for facts in runs if facts.recipe.paper]
    for corpus in dict.fromkeys(facts.corpus_name for facts in runs):
        for found in find_tables(corpus):
            metrics = list(dict.fromkeys(m for row in found.rows.values() for m in row))
            rows = [[method, *(_share(row.get(m)) for m in metrics)] for method, row in found.rows.items()]
            named = zip(told_apart(runs), runs, strict=True)
            ours = [(name, facts) for name, facts in named if facts.corpus_name == corpus]
            mark = list(range(len(rows), len(rows) + len(ours)))
            for name, facts in ours:
                own = facts.chosen_metrics
                rows.append([f"{name}, here", *(show(own[m]) if m in own else "" for m in metrics)])
            said = f"{found.source}; {READ[found.read]}. Other documents may have been drawn and other texts used: "
            said += "compare with care."
            parts.append(
                f"<h3>{escape(corpus)}</h3><p class='note'>{escape(said)}</p>"
                f"{table(['method', *map(heading, metrics)], rows, ours=mark)}"
            )
    return f"<h2>Published figures</h2>{''.join(parts)}" if parts else ""


def quoted_rows(facts: RunFacts) -> list[list[str]]:
    """Return the accuracies that a recipe quotes from its paper, by regime, with the run's own beside its regime."""
    own = facts.chosen_metrics.get("accuracy")
    return [
        [
            regime,
            f"{value:.2f}",
            f"{100 * own.mean:.2f}" if own and regime == facts.recipe.supervision else "",
        ]
        for regime, value in facts.recipe.paper.items()
    ]


def _quoted(facts: RunFacts) -> str:
    mark = [i for i, regime in enumerate(facts.recipe.paper) if regime == facts.recipe.supervision]
    said = "As the recipe quotes its paper; other models and texts may have been used: compare with care."
    columns = ["supervision", "accuracy in %, paper", "here"]
    return f"<h3>{escape(facts.name)}</h3><p class='note'>{said}</p>{table(columns, quoted_rows(facts), ours=mark)}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0")


def _teacher(facts: RunFacts) -> str:
    if facts.teacher is not None:
        return facts.teacher.title
    return str(facts.recipe.teacher.get("name", "")) if facts.is_tagger else facts.recipe.supervision
