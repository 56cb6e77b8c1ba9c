"""The method as a picture, with the run's own numbers in it; lying for wide pages, upright for narrow ones."""

from __future__ import annotations

from html import escape

from lmteach.recipe.loss import loss_section
from lmteach.tracking.report.facts import RunFacts

WIDE = 1014.0  # of the lying picture, so that one of few steps is not blown up
Step = tuple[str, str, str]  # heading, what it is here, colour


def steps(facts: RunFacts) -> list[Step]:
    """Return the stages of a run, each with what it was here."""
    recipe, final = facts.recipe, facts.final
    first = facts.cycles[0] if facts.cycles else {}
    if not facts.is_tagger:
        return [
            ("documents", f"{facts.corpus_name}", "grey"),
            ("labels", f"supervision: {recipe.supervision}", "orange"),
            ("student", f"classifier, {getattr(recipe.student, 'tuning', '')}", "blue"),
            ("test", _score(facts), "green"),
        ]
    teacher = facts.teacher.title if facts.teacher is not None else str(recipe.teacher["name"])
    rate = f", yes {first['yes_rate']:.0%}" if isinstance(first.get("yes_rate"), float) else ""
    n_cycles = final.get("cycles", len(facts.cycles))
    return [
        ("documents", f"{first.get('documents', 0):,} of {facts.corpus_name}", "grey"),
        ("shortlist", f"{recipe.search.n_judged} of {_n_labels(facts)} labels each", "grey"),
        ("teacher judges", f"{_short(teacher)}{rate}", "orange"),
        ("positives", f"{first.get('positives', 0):,} on {first.get('trained_on', 0):,} documents", "orange"),
        (
            "student learns",
            f"{n_cycles} cycle{'s' * (n_cycles != 1)}, {loss_section(recipe)['name'].replace('_', ' ')}",
            "blue",
        ),
        ("test", _score(facts), "green"),
    ]


def draw_method(facts: RunFacts) -> str:
    """Return the picture in both forms; the page's style shows one."""
    found = steps(facts)
    loops = facts.is_tagger
    return f'<div class="wide">{_lying(found, loops)}</div><div class="narrow">{_upright(found, loops)}</div>'


def _lying(found: list[Step], loops: bool) -> str:
    box, gap, height = 150.0, 22.0, 78.0
    width = max(WIDE, len(found) * box + (len(found) - 1) * gap + 4)
    parts = []
    for i, step in enumerate(found):
        x = 2 + i * (box + gap)
        parts.append(_box(x, 10, box, height, step))
        if i:
            y = 10 + height / 2
            parts.append(_arrow(f"M{x - gap + 2} {y}H{x - 8}", x - 2, y, "right"))
    if loops:
        start, end, low = 2 + 4 * (box + gap) + box / 2, 2 + (box + gap) + box / 2, 10 + height
        parts.append(_arrow(f"M{start} {low + 2}V{low + 26}H{end}V{low + 10}", end, low + 3, "up"))
        parts.append(
            f'<text class="axis" x="{(start + end) / 2}" y="{low + 42}" text-anchor="middle">'
            "next cycle: the better student searches anew</text>"
        )
    return _picture(width, height + (62 if loops else 20), parts)


def _upright(found: list[Step], loops: bool) -> str:
    box, gap, height, width = 250.0, 20.0, 58.0, 320.0
    parts = []
    for i, step in enumerate(found):
        y = 4 + i * (height + gap)
        parts.append(_box(4, y, box, height, step))
        if i:
            parts.append(_arrow(f"M{4 + box / 2} {y - gap + 1}V{y - 8}", 4 + box / 2, y - 2, "down"))
    if loops:
        top, low, right = 4 + height + gap + height / 2, 4 + 4 * (height + gap) + height / 2, 4 + box
        parts.append(_arrow(f"M{right + 2} {low}H{right + 26}V{top}H{right + 10}", right + 3, top, "left"))
        x, y = right + 44, (top + low) / 2
        parts.append(
            f'<text class="axis" x="{x}" y="{y}" text-anchor="middle" transform="rotate(90 {x} {y})">'
            "next cycle</text>"
        )
    return _picture(width, len(found) * (height + gap), parts)


def _picture(width: float, height: float, parts: list[str]) -> str:
    label = (
        "documents, shortlist, teacher, positives, student, test; the student searches again in each cycle"
    )
    return (
        f'<svg class="method" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _box(x: float, y: float, width: float, height: float, step: Step) -> str:
    title, text, colour = step
    lines = _wrap(text, int(width / 7.2), 2)
    middle, first = x + width / 2, y + (28 if height > 60 else 22)
    body = "".join(
        f'<text class="tick" x="{middle}" y="{first + 18 + 14 * i}" text-anchor="middle">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<rect class="box s-{colour}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
        f'<text class="step" x="{middle}" y="{first}" text-anchor="middle">{escape(title)}</text>{body}'
    )


def _arrow(path: str, x: float, y: float, towards: str) -> str:
    head = {
        "right": f"{x},{y} {x - 7},{y - 4} {x - 7},{y + 4}",
        "left": f"{x},{y} {x + 7},{y - 4} {x + 7},{y + 4}",
        "up": f"{x},{y} {x - 4},{y + 7} {x + 4},{y + 7}",
        "down": f"{x},{y} {x - 4},{y - 7} {x + 4},{y - 7}",
    }[towards]
    return f'<path class="arrow" d="{path}"/><polygon class="head" points="{head}"/>'


def _wrap(text: str, width: int, n_lines: int) -> list[str]:
    import textwrap

    lines = textwrap.wrap(text, width)
    if len(lines) > n_lines:
        lines = [*lines[: n_lines - 1], lines[n_lines - 1][: width - 1] + "…"]
    return lines


def _score(facts: RunFacts) -> str:
    for metric in ("p@1", "accuracy"):
        if metric in facts.chosen_metrics:
            name = "P@1" if metric == "p@1" else metric
            floor = facts.untuned_metrics.get(metric)
            before = "" if floor is None else f" (untuned {floor.mean:.3f})"
            return f"{name} {facts.chosen_metrics[metric].mean:.3f}{before}"
    return "not measured yet"


def _n_labels(facts: RunFacts) -> str:
    if facts.scores is not None and len(facts.scores.label_counts_l):
        return f"{len(facts.scores.label_counts_l):,}"
    return "all"


def _short(teacher: str) -> str:
    """Return a teacher's title without the folders and endings of its weights."""
    return " ".join(part.rpartition("/")[2].removesuffix(".gguf") for part in teacher.split())
