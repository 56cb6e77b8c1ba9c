"""A report as one HTML file: styles and pictures inside, nothing fetched, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources

from lmteach import __version__
from lmteach.tracking.report import sections
from lmteach.tracking.report.charts import letter
from lmteach.tracking.report.class_sections import class_teacher, classes
from lmteach.tracking.report.facts import RunFacts
from lmteach.tracking.report.html import escape
from lmteach.tracking.report.several import pair_up, published, side_by_side, told_apart

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def build_page(runs: Sequence[RunFacts], oracle: RunFacts | None = None) -> str:
    """Return the page.

    Args:
        runs: at least one; the first is the base that others are compared with.
        oracle: a run taught by gold, as the ceiling.
    """
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [_header(runs, title)]
    settings = runs[0].recipe.evaluation
    pairings = pair_up(runs, resamples=settings.resamples, seed=runs[0].recipe.seed)
    parts += [side_by_side(runs, pairings), published(runs)]
    for place, (name, facts) in enumerate(zip(told_apart(runs), runs, strict=True)):
        if len(runs) > 1:
            parts.append(f'<h1 style="margin-top:56px">{letter(place)}: {escape(name)}</h1>')
        parts += _run(facts, oracle)
    style = (resources.files(__package__) / "style.css").read_text(encoding="utf-8")
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: lmteach report</title><style>{style}</style></head><body><main>"
        f"{''.join(parts)}<footer>lmteach {__version__}, {made}. Intervals are 95% percentile bootstrap "
        "over documents unless said otherwise.</footer></main></body></html>\n"
    )


def _header(runs: Sequence[RunFacts], title: str) -> str:
    corpora = ", ".join(dict.fromkeys(facts.corpus_name for facts in runs))
    date = str(runs[0].manifest.get("written", ""))[:10]
    about = f"{corpora}{', ' + date if date else ''}"
    return f"<header><h1>{escape(title)}</h1><div class='soft'>{escape(about)}</div></header>"


def _run(facts: RunFacts, oracle: RunFacts | None) -> list[str]:
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in facts.notes)
    return [
        sections.headline(facts),
        notes,
        sections.method(facts),
        sections.quality(facts, oracle),
        sections.teacher(facts),
        class_teacher(facts),
        classes(facts),
        sections.frequency(facts),
        sections.cost(facts),
        sections.hardest(facts),
        sections.about_run(facts),
    ]
