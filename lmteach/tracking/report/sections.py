"""The sections of a run's page, each an HTML string, "" where the run has nothing to say of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

from lmteach.metrics.intervals import Interval
from lmteach.tracking.figures import bounds, duration, interval, rate
from lmteach.tracking.report import charts
from lmteach.tracking.report.charts import heading, show
from lmteach.tracking.report.class_sections import parts_of
from lmteach.tracking.report.facts import Cost, RunFacts
from lmteach.tracking.report.hardest import HardDocument
from lmteach.tracking.report.html import card, escape, folded, table, tiles
from lmteach.tracking.report.method import draw_method
from lmteach.tracking.report.teacher_facts import TeacherFacts

CHARTED = ("p@1", "p@3", "p@5", "psp@5", "r@10", "accuracy", "macro_f1")
TABLED = ("p@1", "p@3", "p@5", "r@10", "ndcg@5", "psp@1", "psp@3", "psp@5", "psndcg@5", "coverage@5", "accuracy",
          "macro_f1", "micro_f1", "brier", "ece")  # fmt: skip
GOLD_LINES = {
    "accuracy": "accuracy",
    "kappa": "kappa, beyond chance",
    "precision": "precision of a yes",
    "recall": "recall among the candidates",
    "auc": "AUC, all pairs",
    "auc_by_document": "AUC within a document",
    "student_auc_by_document": "AUC of the student's order",
    "p1": "P@1 of the teacher's best",
    "student_p1": "P@1 of the student's first",
    "candidates_recall": "gold among the candidates",
}


def headline(facts: RunFacts) -> str:
    """Return the few numbers that matter most."""
    metric = "p@1" if "p@1" in facts.chosen_metrics and facts.is_tagger else "accuracy"
    pairs: list[tuple[str, str]] = []
    if metric in facts.chosen_metrics:
        pairs.append((f"{facts.chosen_metrics[metric].mean:.3f}", f"{heading(metric)}, {facts.chosen}"))
    gain = facts.final.get("gain", {}).get(metric)
    if gain and gain.get("difference") is not None:
        said = f"over the untuned student [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        pairs.append((f"{gain['difference']:+.3f}", said))
    for name, part in parts_of(facts).items():
        if isinstance(part.get("accuracy"), float):
            pairs.append((f"{part['accuracy']:.3f}", f"of the teacher's labels right ({name})"))
    if facts.teacher is not None and facts.teacher.gold is not None:
        pairs.append((f"{facts.teacher.gold.p1.mean:.3f}", "P@1 of the teacher on training documents"))
    if facts.cost is not None:
        made, stored = facts.cost.judgements, facts.cost.from_store
        if made or stored:
            pairs.append((f"{made:,}", f"judgements made, {stored:,} from the store"))
        pairs.append((_took(facts.cost.seconds), "in all"))
    return tiles(pairs)


def method(facts: RunFacts) -> str:
    """Return the method's picture."""
    return f"<h2>How it was made</h2>{draw_method(facts)}"


def quality(facts: RunFacts, oracle: RunFacts | None) -> str:
    """Return P@k by cycle with floor and ceiling, and the table behind it."""
    if not facts.students:
        return ""
    n = facts.final.get("test_documents")
    about = f"{n:,} held-out documents, 95% bootstrap intervals over documents." if n else ""
    metrics = [m for m in CHARTED if m in facts.chosen_metrics]
    cards, by_name, ceiling = [], len(facts.students) > 1, ""
    for metric in metrics:
        chart = charts.by_cycle(facts, metric, oracle)
        keys = [("blue", "student"), ("grey", "untuned: the floor")]
        if any(point.dev_p1 is not None for point in chart.points):
            keys.append(("orange", "dev, judged by the teacher"))
        if chart.ceiling is not None:
            keys.append(("green", "ceiling"))
            ceiling = ceiling or f" The ceiling is {chart.source}."
        if by_name:
            cards.append(card(heading(metric), "", charts.draw_cycles(chart), keys))
    shown = [m for m in TABLED if m in facts.chosen_metrics]
    rows = [[name, *(show(v[m]) if m in v else "" for m in shown)] for name, v in facts.students.items()]
    mark = [i for i, name in enumerate(facts.students) if name == facts.chosen]
    losses = ""
    if facts.losses:
        keys = list(zip(charts.colours(len(facts.losses)), facts.losses, strict=True))
        losses = card("Training loss", "", charts.draw_losses(facts.losses), keys)
    return (
        f"<h2>Quality</h2><p class='soft'>{escape(about + ceiling)}</p>"
        f'<div class="grid">{"".join(cards)}{losses}</div>'
        + table(["student", *map(heading, shown)], rows, ours=mark)
    )


def teacher(facts: RunFacts) -> str:
    """Return the teacher's audit, its yes-rate by place, and what the shortlists hold."""
    found = facts.teacher
    if found is None:
        return ""
    view = found.overview
    numbers = tiles(
        [
            (f"{view.yes_rate.mean:.1%}", f"yes {bounds(view.yes_rate.low, view.yes_rate.high, '.1%')}"),
            (f"{view.n_pairs:,}", f"verdicts on {view.n_documents:,} documents"),
            (f"{view.n_unread:,}", f"unread ({view.unread_rate:.1%})"),
            (f"{view.n_without:,}", "documents without a yes"),
        ]
    )
    return (
        f"<h2>Teacher</h2><p class='soft'>{escape(found.title)}; the verdicts of cycle {found.cycle} on training "
        f'documents.</p>{numbers}<div class="grid">{"".join(_teacher_charts(found))}</div>'
        + "".join(_teacher_tables(found))
    )


def _teacher_charts(found: TeacherFacts) -> Iterator[str]:
    if found.ranks:
        keys = [("blue", "teacher says yes, 95% Wilson interval")]
        if any(row.gold is not None for row in found.ranks):
            keys.append(("orange", "gold"))
        about = "A steep fall means that the student's order is already good."
        yield card("Yes-rate by place", about, charts.draw_ranks(found), keys)
    if found.recall_by_k and any(found.recall_by_k.values()):
        keys = list(zip(charts.colours(len(found.recall_by_k)), found.recall_by_k, strict=True))
        about = "Gold labels among the first k candidates: what the teacher could find at best."
        yield card("Shortlist recall by k", about, charts.draw_recall(found), keys)


def _teacher_tables(found: TeacherFacts) -> Iterator[str]:
    if found.gold is not None:
        values = dataclasses.asdict(found.gold)
        rows = [[name, interval(Interval(**values[key]))] for key, name in GOLD_LINES.items()]
        yield folded("Against gold of training documents", table(["", "95% interval"], rows))
    ranks = [
        [str(r.rank), rate(r.yes), f"{r.yes.n_unread:,}", _maybe(r.gold), _maybe(r.precision)]
        for r in found.ranks
    ]
    yield folded(
        "By place in the shortlist", table(["place", "yes", "unread", "gold", "right of yes"], ranks)
    )
    uses = [
        [u.name, kind, f"{u.n_yes:,}", f"{u.expected:,.0f}"]
        for kind, some in (("too often", found.overused), ("too rarely", found.underused))
        for u in some
    ]
    if uses:
        yield folded("Labels used too often or too rarely", table(["label", "used", "yes", "expected"], uses))


def frequency(facts: RunFacts) -> str:
    """Return head, torso and tail, with propensity-scored precision."""
    if not facts.buckets:
        return ""
    students = list(facts.buckets[0].recall)
    k = facts.buckets[0].k
    keys = [(charts.bucket_colour(name), name) for name in students]
    picture = card(f"R@{k} by label frequency", "", charts.draw_buckets(facts.buckets), keys)
    columns = ["", "labels", "in training", "test gold", *(f"R@{k}, {s}" for s in students)]
    columns += [f"found once, {s}" for s in students]
    rows = [
        [b.name, f"{b.n_labels:,}", f"{b.least:,} to {b.most:,}", f"{b.n_gold:,}"]
        + [_maybe(b.recall[s]) for s in students]
        + [_maybe(b.found[s]) for s in students]
        for b in facts.buckets
    ]
    weighted = [m for m in facts.chosen_metrics if m.startswith(("psp@", "psndcg@"))]
    names = [name for name in facts.students if weighted and weighted[0] in facts.students[name]]
    scored = [[name, *(show(facts.students[name][m]) for m in weighted)] for name in names]
    settings = facts.recipe.evaluation
    below = (
        f"<p class='note'>Propensity-scored (Jain et al. 2016), A = {settings.propensity_a:g}, "
        f"B = {settings.propensity_b:g}: a hit on a rare label counts more.</p>"
        + table(["student", *map(heading, weighted)], scored)
        if weighted
        else ""
    )
    about = (
        "Labels by how often they are gold in training documents: the head makes up half of all occurrences, "
        "the torso the next 30%, the tail the rest."
    )
    return (
        f"<h2>Frequent and rare labels</h2><p class='soft'>{about}</p>"
        f'<div class="grid">{picture}</div>{table(columns, rows)}{below}'
    )


def cost(facts: RunFacts) -> str:
    """Return what the run took, and what the store saved."""
    found = facts.cost
    if found is None:
        return ""
    picture = ""
    if facts.cycles and any(event.get("judgements") or event.get("from_store") for event in facts.cycles):
        keys = [("blue", "made"), ("green", "from the store")]
        picture = f'<div class="grid">{card("Judgements", "", charts.draw_costs(facts.cycles), keys)}</div>'
    return f"<h2>Cost</h2>{picture}{table(['', 'spent', 'saved by the store'], cost_rows(found))}"


def cost_rows(found: Cost) -> list[list[str]]:
    """Return name, spent and saved of each kind of cost."""

    def amount(value: float | None, form: str) -> str:
        return "" if value is None else form.format(value)

    return [
        ["judgements", f"{found.judgements:,}", f"{found.from_store:,}"],
        ["tokens", f"{found.tokens:,}", amount(found.saved_tokens, "about {:,.0f}")],
        ["teacher's time", _took(found.teacher_seconds), _took(found.saved_seconds)],
        *([] if found.train_seconds is None else [["training", _took(found.train_seconds), ""]]),
        ["whole run", _took(found.seconds), ""],
        ["energy", "not measured" if found.joules is None else f"{found.joules / 3600:,.1f} Wh", ""],
        ["money", f"{found.usd:,.2f} USD", amount(found.saved_usd, "about {:,.2f} USD")],
    ]


def hardest(facts: RunFacts) -> str:
    """Return the documents that the kept student gets most wrong."""
    if not facts.hardest:
        return ""
    metric = heading(facts.hardest[0].metric)
    documents = "".join(_document(document) for document in facts.hardest)
    return (
        f"<h2>Hardest documents</h2><p class='soft'>Lowest {metric} of the kept student, the surest mistakes "
        "first. Ticked tags are right; what is right but missing stands behind “gold”.</p>" + documents
    )


def _document(document: HardDocument) -> str:
    tags = "".join(
        f'<span class="tag {kind}">{"✓ " * tag.right}{escape(tag.name)} <small>{tag.score:.2f}</small></span>'
        for tag in document.tags
        for kind in ["right" if tag.right else "wrong"]
    )
    given = {tag.name for tag in document.tags}
    missing = "".join(
        f'<span class="tag">{escape(name)}</span>' for name in document.gold if name not in given
    )
    title = document.title or document.id or f"document {document.row}"
    text = f'<p class="text">{escape(document.text)}</p>' if document.text else ""
    gold = f'<span class="soft">gold</span>{missing}' if missing else ""
    return (
        f'<article class="doc"><h3>{escape(title)}</h3>{text}<div class="tags">{tags}{gold}</div></article>'
    )


def about_run(facts: RunFacts) -> str:
    """Return recipe, machine and versions, folded."""
    from lmteach.recipe.load import to_yaml

    manifest = json.dumps(facts.manifest, indent=2, ensure_ascii=False)
    return (
        "<h2>Recipe and machine</h2>"
        + folded("Recipe", f"<pre>{escape(to_yaml(facts.recipe))}</pre>")
        + folded("Versions and fingerprints", f"<pre>{escape(manifest)}</pre>")
    )


def _took(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _maybe(share: float | None) -> str:
    return "" if share is None or share != share else f"{share:.1%}"
