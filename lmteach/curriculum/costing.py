"""From what a recipe would ask of its teachers to tokens, hours, dollars and bytes, each with where it comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lmteach import weights
from lmteach.curriculum.feature_planning import Extraction, ReadingProbe, cost_pass
from lmteach.curriculum.planning import Groundwork, Sizes, Stage, made_up_length
from lmteach.curriculum.probing import Probe
from lmteach.errors import LmteachError
from lmteach.recipe.schema import Recipe
from lmteach.teaching.planning import TeacherPart, TokenEstimate, estimate_tokens, small_files
from lmteach.teaching.prices import PriceTable
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.speed import SpeedEstimate, estimate_speed
from lmteach.types import Usage

BYTES_A_VERDICT = 110  # of a SQLite store, measured over 100,000 rows without raw answers
BYTES_A_CANDIDATE = {"kept": 8, "judged": 9}  # in shortlist.npz and verdicts.npz


@dataclass(frozen=True)
class Machine:
    """What is known of the machine that a teacher will run on; None = this machine is looked at.

    `usd_an_hour` is its price, `flops` its rate of matrix products in operations a second.
    """

    usd_an_hour: float | None = None
    flops: float | None = None


THIS_MACHINE = Machine()


@dataclass(frozen=True)
class PartCost:
    """What one teacher costs over some labellings; None = not known."""

    teacher: str
    tokens: float | None
    tokens_how: str
    seconds: float | None
    seconds_how: str
    usd: float | None
    usd_how: str


@dataclass(frozen=True)
class Disk:
    """Bytes that a whole run writes; None = not known."""

    store: int
    shortlists: int
    students: int | None
    label_vectors: int | None


@dataclass(frozen=True)
class Plan:
    """What a recipe would cost. `first` is the first cycle alone, `at_most` all cycles there may be."""

    recipe: str
    sizes: Sizes
    stages: list[Stage]
    first: list[PartCost]
    at_most: list[PartCost]
    disk: Disk
    budget: dict[str, float]
    notes: list[str]
    next_labels: list[PartCost] = field(default_factory=list)  # of 1,000 documents more, for a classifier
    extraction: list[Extraction] = field(default_factory=list)  # of frozen backbones

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def cost(
    work: Groundwork,
    *,
    prices: Path | None = None,
    machine: Machine = THIS_MACHINE,
    timed: Probe | None = None,
    read: Sequence[ReadingProbe | None] = (),
) -> Plan:
    """Put numbers on a recipe's labelling, and on what its frozen backbones read.

    Args:
        prices: a price table over the shipped one and over the teacher's own.
        machine: what the teacher will run on.
        timed: a probe, whose seconds count instead of an estimate.
        read: the same of each pass of backbones.

    Raises:
        RecipeError: a teacher's prompt does not exist.
    """
    first = [stage for stage in work.stages if stage.cycle == 0]
    pricers = [_Pricer(work, part, prices, machine, timed) for part in work.parts]
    return Plan(
        recipe=work.recipe.name,
        sizes=work.sizes,
        stages=work.stages,
        first=[pricer.cost(first) for pricer in pricers],
        at_most=[pricer.cost(work.stages) for pricer in pricers],
        disk=measure_disk(work.recipe, work.sizes, work.stages),
        budget={key: cap for key, cap in asdict(work.recipe.budget).items() if cap is not None},
        notes=work.notes,
        next_labels=_next_labels(work, pricers),
        extraction=[
            cost_pass(work.recipe, planned, probe, machine.flops)
            for planned, probe in zip(work.passes, read or [None] * len(work.passes), strict=True)
        ],
    )


def _next_labels(work: Groundwork, pricers: Sequence[_Pricer]) -> list[PartCost]:
    if work.recipe.student.kind != "classifier" or not pricers:
        return []
    from lmteach.curriculum.class_planning import next_labels

    return [pricer.cost([next_labels(work)]) for pricer in pricers]


class _Pricer:
    """One teacher's tokens, speed and price, found once for all labellings."""

    def __init__(
        self,
        work: Groundwork,
        part: TeacherPart,
        prices: Path | None,
        machine: Machine,
        timed: Probe | None,
    ) -> None:
        self.part, self.timed = part, timed
        own = getattr(part.config, "prices", "")
        self.prices = PriceTable.load(prices or (Path(own).expanduser() if own else None))
        self.n_parts, self.n_labels = len(work.parts), work.sizes.labels
        resources = TeacherResources(build=_nothing, corpus=work.corpus, seed=work.recipe.seed)
        self.cut = 0 if work.corpus is not None else made_up_length(work.parts)
        self.tokens: TokenEstimate | None = None
        self.speed: SpeedEstimate | None = None
        if part.reads_prompts:
            self.tokens = estimate_tokens(part, work.sample, resources)
            self.speed = None if timed else estimate_speed(part, resources, machine.flops)
        self.hourly, self.hourly_how = _hourly(part, self.prices, machine.usd_an_hour)

    def cost(self, stages: Sequence[Stage]) -> PartCost:
        """Return what these labellings cost at most."""
        n_pairs = sum(stage.n_to_make for stage in stages) // self.n_parts
        tokens, tokens_how = self._tokens(stages)
        seconds, seconds_how = self._seconds(n_pairs, tokens)
        usd, usd_how = self._usd(n_pairs, tokens, seconds)
        return PartCost(self.part.title, tokens, tokens_how, seconds, seconds_how, usd, usd_how)

    def _tokens(self, stages: Sequence[Stage]) -> tuple[float | None, str]:
        if self.tokens is None:
            return 0.0, "it reads no prompt"
        each = (
            self.tokens.total(stage.n_documents_to_read, stage.n_to_make // self.n_parts, self.n_labels)
            for stage in stages
        )
        assumed = f"; documents are assumed to fill {self.cut} tokens" if self.cut else ""
        return sum(each), self.tokens.how + assumed

    def _seconds(self, n_pairs: int, tokens: float | None) -> tuple[float | None, str]:
        if self.timed is not None:
            each = self.timed.seconds / self.timed.n_pairs
            seconds = each * n_pairs  # all teachers were timed together, so each bears its share of the pairs
            return seconds, f"a probe of {self.timed.n_pairs} judgements in {self.timed.seconds:.1f} s"
        if self.tokens is None:
            return None, "not estimated without a prompt; --probe measures it"
        if self.speed is None or tokens is None:
            return None, "not known of this model here; --probe measures it"
        return tokens * self.speed.seconds_a_token, self.speed.how

    def _usd(self, n_pairs: int, tokens: float | None, seconds: float | None) -> tuple[float | None, str]:
        price = (
            None if self.part.runs_here else self.prices.model(str(getattr(self.part.config, "model", "")))
        )
        if price is not None and tokens is not None:
            how = f"{price.input:g} USD a million tokens in, {price.output:g} out ({self.prices.dated})"
            return price.usd(Usage(round(tokens), n_pairs)), how
        if not self.part.reads_prompts:
            return 0.0, "no model is asked"
        if self.hourly is None:
            return None, f"no price is known for {self.part.title}; --usd-per-hour or --prices gives one"
        if seconds is None:
            return None, "not known without the seconds"
        return seconds / 3600 * self.hourly, self.hourly_how


def _nothing(section: Any) -> Any:
    raise AssertionError(f"a part has no members: {section}")


def _hourly(part: TeacherPart, prices: PriceTable, given: float | None) -> tuple[float | None, str]:
    """Return what an hour of the teacher's machine costs, and how that is known."""
    if given is not None:
        return given, f"{given:g} USD an hour, as given"
    if not part.runs_here:
        return None, ""
    import torch

    if torch.cuda.is_available():
        name, n = torch.cuda.get_device_name(), 1
    else:
        name, n = "cpu-core", os.cpu_count() or 1
    price = prices.machine(name)
    if price is None:
        return None, ""
    return price * n, f"{n} {name} at {price:g} USD an hour ({prices.dated})"


def measure_disk(recipe: Recipe, sizes: Sizes, stages: Sequence[Stage]) -> Disk:
    """Return the bytes that a run writes, its students as large as the model they start from."""
    n_cycles = 1 + max((stage.cycle for stage in stages), default=0)
    kept = min(recipe.search.n_kept, sizes.labels)
    shortlists = sum(
        stage.n_documents
        * (kept * BYTES_A_CANDIDATE["kept"] + BYTES_A_CANDIDATE["judged"] * _judged(recipe, stage))
        for stage in stages
    )
    student, dim = measure_student(str(recipe.student.encoder.get("model", "")))
    return Disk(
        store=BYTES_A_VERDICT * sum(stage.n_to_make for stage in stages),
        shortlists=shortlists,
        students=None if student is None else student * (n_cycles + 1),  # one a cycle, and the best one again
        label_vectors=None if dim is None else 4 * dim * sizes.labels,
    )


def _judged(recipe: Recipe, stage: Stage) -> int:
    if recipe.student.kind == "classifier":
        return 1
    return recipe.search.n_judged if stage.split == "train" else recipe.dev.n_judged


def measure_student(model: str) -> tuple[int | None, int | None]:
    """Return the bytes of a model's weights and the width of its vectors; None where that is not to be had."""
    try:
        folder = small_files(model) or weights.locate(model)
        assert folder is not None
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (LmteachError, OSError, ValueError, AssertionError):
        return None, None
    size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    dim = config.get("hidden_size") or config.get("dim")
    return size or None, int(dim) if dim else None
