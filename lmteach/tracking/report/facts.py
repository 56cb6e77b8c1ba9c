"""What a report tells about a run, gathered from its folder; the corpus adds gold and texts where it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach.curriculum.finish import cycle_events
from lmteach.curriculum.open_run import read_run
from lmteach.errors import LmteachError, RunError
from lmteach.tracking.report.buckets import Bucket, split_by_frequency
from lmteach.tracking.report.hardest import HardDocument, find_hardest
from lmteach.tracking.report.teacher_facts import TeacherFacts, gather_teacher
from lmteach.tracking.run_folder import RunFolder, read_json
from lmteach.tracking.test_scores import FILE, TestScores

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus
    from lmteach.recipe.schema import Recipe


@dataclass(frozen=True)
class Measure:
    """A metric with its 95% interval; without one, `low` and `high` are None."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cost:
    """What labelling and the run as a whole took; None = not measured.

    `joules` are those of teacher and training, as far as they were measured. `train_seconds` is known of classifiers.
    The `saved_` numbers are what the answers from the store would have cost at this run's own mean price.
    """

    judgements: int
    from_store: int
    tokens: int
    seconds: float
    teacher_seconds: float
    usd: float
    joules: float | None
    saved_tokens: float | None
    saved_seconds: float | None
    saved_usd: float | None
    train_seconds: float | None = None


@dataclass
class RunFacts:
    """Everything a report says of one run.

    Attributes:
        students: by name in the order they were made (`untuned`, `cycle 0`, ...), each one's metrics.
        chosen: the student that was kept.
        cycles: the lines of metrics.jsonl, one a cycle.
        ceiling: P@k that a perfect judge of the first shortlists would reach on training documents.
    """

    path: Path
    name: str
    recipe: Recipe
    manifest: Mapping[str, Any]
    cycles: list[Mapping[str, Any]]
    final: Mapping[str, Any]
    students: dict[str, dict[str, Measure]]
    chosen: str
    cost: Cost | None
    scores: TestScores | None = None
    teacher: TeacherFacts | None = None
    buckets: list[Bucket] = field(default_factory=list)
    hardest: list[HardDocument] = field(default_factory=list)
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_tagger(self) -> bool:
        """Whether the student ranks labels, rather than choosing a class."""
        return self.recipe.student.kind == "tagger"

    @property
    def corpus_name(self) -> str:
        """The known set's name, or that of the folder."""
        section = self.recipe.corpus
        return section.name or Path(section.path).name

    @property
    def chosen_metrics(self) -> Mapping[str, Measure]:
        """The kept student's metrics."""
        return self.students.get(self.chosen, {})

    @property
    def untuned_metrics(self) -> Mapping[str, Measure]:
        """The metrics of the student before any training: the floor."""
        return self.students.get("untuned", {})


def gather(path: Path, *, n_hardest: int = 12, with_corpus: bool = True) -> RunFacts:
    """Gather a run's facts.

    Args:
        n_hardest: documents to show.
        with_corpus: open the corpus; without it there is no gold of training documents and no text.

    Raises:
        RunError: this is no run folder, or nothing in it is finished yet.
    """
    folder, recipe = read_run(path)
    final = _last(folder, "final")
    events = cycle_events(folder)
    if final is None and not events:
        raise RunError(
            "Nothing of this run is finished yet, so there is nothing to report.",
            where=str(path),
            mend="Go on with it: `lmteach fit --resume`.",
        )
    notes = [] if final is not None else ["The run is not finished: its students were not measured yet."]
    final = final or {}
    students, chosen = _students(final)
    facts = RunFacts(
        path=path,
        name=recipe.name,
        recipe=recipe,
        manifest=read_json(folder.manifest) if folder.manifest.is_file() else {},
        cycles=list(events),
        final=final,
        students=students,
        chosen=chosen,
        cost=_cost(final, events),
        losses=_losses(path),
        notes=notes,
    )
    if (path / FILE).is_file():
        facts.scores = TestScores.load(path)
        facts.buckets = split_by_frequency(facts.scores)
    elif final:
        notes.append(f"There is no {FILE}: `lmteach evaluate` makes it, for buckets and hardest documents.")
    corpus = _open_corpus(facts, notes) if with_corpus else None
    if facts.is_tagger:
        facts.teacher = gather_teacher(folder, recipe, events, corpus)
    if facts.scores is not None:
        facts.hardest = find_hardest(facts.scores, corpus, n_hardest)
    return facts


def _students(final: Mapping[str, Any]) -> tuple[dict[str, dict[str, Measure]], str]:
    by_name = final.get("by_name")
    if by_name is None:  # a classifier's line names its students one by one
        by_name = {
            name: final[name] for name in ("untuned", "student") if isinstance(final.get(name), Mapping)
        }
    intervals = final.get("intervals", {})
    students = {
        name: {
            metric: Measure(float(mean), *intervals.get(name, {}).get(metric, (None, None)))
            for metric, mean in metrics.items()
            if isinstance(mean, int | float)
        }
        for name, metrics in by_name.items()
    }
    return students, str(final.get("chosen", "student"))


def _cost(final: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Cost | None:
    def total(name: str) -> float:
        return float(final.get(name) or sum(event.get(name) or 0 for event in events))

    if not final and not events:
        return None
    made, reused = int(total("judgements")), int(total("from_store"))
    tokens = total("prompt_tokens") + total("answer_tokens")
    measured = [final.get("joules"), *(stage.get("joules") for stage in final.get("stages", ()))]
    joules = [float(value) for value in measured if value is not None]

    def saved(amount: float) -> float | None:
        return amount / made * reused if made and amount else None

    return Cost(
        judgements=made,
        from_store=reused,
        tokens=int(tokens),
        seconds=total("seconds"),
        teacher_seconds=total("teacher_seconds"),
        usd=total("usd"),
        joules=sum(joules) if joules else None,
        train_seconds=final.get("train_seconds"),
        saved_tokens=saved(tokens),
        saved_seconds=saved(total("teacher_seconds")),
        saved_usd=saved(total("usd")),
    )


def _last(folder: RunFolder, kind: str) -> dict[str, Any] | None:
    found = [event for event in folder.events() if event.get("event") == kind]
    return found[-1] if found else None


def _losses(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the training loss by part of the run, from the CSV files that Lightning wrote."""
    import csv

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((path / "tracking" / "training").glob("*/metrics.csv")):
        with file.open(newline="", encoding="utf-8") as opened:
            rows = [(row.get("step"), row.get("loss")) for row in csv.DictReader(opened)]
        points = [(int(step), float(loss)) for step, loss in rows if step and loss]
        if points:
            found[file.parent.name] = points
    return found


def _open_corpus(facts: RunFacts, notes: list[str]) -> Corpus | None:
    """Return the run's corpus; None, with a note, where it is not there or no longer the same."""
    from lmteach.corpus.load import load_corpus

    try:
        corpus = load_corpus(facts.recipe.corpus, facts.recipe.seed, Path.cwd())
    except LmteachError as error:
        notes.append(
            f"Without the corpus there are no texts, and no gold of training documents. {error.what}"
        )
        return None
    if facts.manifest.get("corpus") not in (None, corpus.fingerprint):
        notes.append("The corpus has changed since the run, so its texts and gold are left out.")
        return None
    return corpus


def to_dict(facts: RunFacts) -> dict[str, Any]:
    """Return what of a run's facts is numbers and words, for `--json`."""
    from lmteach.curriculum.auditing import plain_values

    plain: dict[str, Any] = plain_values(
        {
            "run": str(facts.path),
            "name": facts.name,
            "corpus": facts.corpus_name,
            "chosen": facts.chosen,
            "students": {
                name: {metric: dataclasses.asdict(value) for metric, value in metrics.items()}
                for name, metrics in facts.students.items()
            },
            "cycles": [dict(event) for event in facts.cycles],
            "cost": None if facts.cost is None else dataclasses.asdict(facts.cost),
            "teacher": None if facts.teacher is None else dataclasses.asdict(facts.teacher),
            "buckets": [dataclasses.asdict(bucket) for bucket in facts.buckets],
            "hardest": [dataclasses.asdict(document) for document in facts.hardest],
            "notes": facts.notes,
        }
    )
    return plain
