"""What frozen backbones would have to read before a head is trained: texts, tokens, seconds, bytes on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach import registry, weights
from lmteach.corpus.texts import Texts
from lmteach.curriculum.protocol import CycleState
from lmteach.errors import LmteachError
from lmteach.machine import choose_precision, device_name
from lmteach.recipe.check_classifier import backbone_name
from lmteach.recipe.schema import BackboneSection, Recipe
from lmteach.students.hash_rows import Hashes
from lmteach.teaching.causal.cost import flops_per_token
from lmteach.teaching.planning import CHARACTERS_A_TOKEN, small_files
from lmteach.teaching.speed import SHARE_OF_PEAK, matmul_rate

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus
    from lmteach.curriculum.planning import Sizes


@dataclass(frozen=True)
class Pass:
    """One backbone, or several on the same weights, that would read texts once.

    Attributes:
        title: the backbones' names.
        n_texts: distinct texts that the run needs vectors of.
        n_to_read: those that the store lacks.
        tokens_each: of a text, where the backbone cuts it.
        bytes_each: that a text's vectors take on disk; None = not known.
        sample: some texts to read, for a probe.
        sections: of the backbones.
    """

    title: str
    n_texts: int
    n_to_read: int
    tokens_each: float
    tokens_how: str
    bytes_each: int | None
    sections: list[BackboneSection]
    sample: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Extraction:
    """What a pass costs; None = not known."""

    backbones: str
    texts: int
    to_read: int
    tokens: float
    tokens_how: str
    seconds: float | None
    seconds_how: str
    bytes: int | None


@dataclass(frozen=True)
class ReadingProbe:
    """A few texts that a backbone read, timed."""

    n_texts: int
    n_tokens: float
    seconds: float


def plan_passes(recipe: Recipe, sizes: Sizes, corpus: Corpus | None, n_sample: int) -> list[Pass]:
    """Return the passes of a recipe's frozen backbones; none where it has none. Loads no weights.

    Args:
        n_sample: texts to count tokens on.
    """
    if recipe.student.kind != "classifier" or recipe.student.tuning != "frozen":
        return []
    texts, n_texts = _texts(recipe, sizes, corpus)
    places = np.arange(n_texts, dtype=np.int64)
    hashes = Hashes.of([] if texts is None else texts)
    if texts is not None:
        places = hashes.first_of_each(places)
    groups: dict[tuple[str, int, str, str], list[BackboneSection]] = {}
    for section in recipe.student.backbones:
        key = (section.model, section.max_tokens, section.precision, section.stored)
        groups.setdefault(key, []).append(section)
    found = []
    for sections in groups.values():
        missing = _missing(recipe, sections, hashes, places) if texts is not None else places
        drawn = np.random.default_rng([recipe.seed, *b"features"]).permutation(missing)[:n_sample]
        sample = [] if texts is None else texts.at(drawn)
        found.append(_pass(sections, len(places), len(missing), sample))
    return found


def _texts(recipe: Recipe, sizes: Sizes, corpus: Corpus | None) -> tuple[Texts | None, int]:
    """Return what the run's backbones read, and how many texts that is: to train on, and to test."""
    curriculum = registry.build("curriculum", recipe.curriculum)
    positions: npt.NDArray[np.int64] = np.arange(sizes.train, dtype=np.int64)
    if curriculum.max_cycles == 1:  # else all are looked at, to choose the next ones
        positions = curriculum.select(CycleState(0, sizes.train, recipe.seed))
    extra = sizes.extra if recipe.supervision in ("teacher_extra", "combined") else 0
    if corpus is None:
        return None, len(positions) + extra + sizes.test
    parts = [Texts.of(corpus.train, positions)]
    parts += [Texts.of(corpus.extra)] if extra and corpus.extra is not None else []
    parts += [] if corpus.test is None else [Texts.of(corpus.test)]
    texts = Texts(parts)
    return texts, len(texts)


def _missing(
    recipe: Recipe,
    sections: Sequence[BackboneSection],
    hashes: Hashes,
    places: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return those places whose text some feature of these backbones lacks in the store."""
    if weights.ready(sections[0].model) is None:
        return places
    from lmteach.students.backbone import Backbone
    from lmteach.students.features import column_folder, column_of

    store, wanted = Path(recipe.run.features), hashes.take(places)
    known = np.ones(len(places), np.bool_)
    for section in sections:
        backbone = Backbone(section, device_name(recipe.trainer.accelerator))
        for feature in backbone.features():
            if not column_folder(store, backbone, feature).is_dir():
                return places
            known &= column_of(store, backbone, feature).find(wanted) >= 0
    return places[~known]


def _pass(sections: list[BackboneSection], n_texts: int, n_to_read: int, sample: list[str]) -> Pass:
    first = sections[0]
    try:
        folder: Path | None = weights.ready(first.model) or small_files(first.model)
    except LmteachError:
        folder = None
    tokens_each, how = _tokens(folder, first.max_tokens, sample)
    bytes_each = None
    if (dim := _width(folder)) is not None:
        number = {"fp16": 2, "fp32": 4}[first.stored]
        features = {(layer, s.pooling) for s in sections for layer in s.layers}
        bytes_each = len(features) * (dim * number + 16)  # and the hash of the text
    title = ", ".join(backbone_name(s.name, s.model) for s in sections)
    return Pass(title, n_texts, n_to_read, tokens_each, how, bytes_each, sections, sample)


def _tokens(folder: Path | None, cut: int, sample: list[str]) -> tuple[float, str]:
    if not sample:
        return float(cut), f"texts are assumed to fill {cut} tokens"
    tokenizer = _tokenizer(folder)
    if tokenizer is None:
        each = fmean(min(cut, len(text) / CHARACTERS_A_TOKEN) for text in sample)
        return each, f"at {CHARACTERS_A_TOKEN:g} characters a token; its tokenizer is not here"
    cut = min(cut, tokenizer.model_max_length)
    ids = tokenizer(sample, truncation=True, max_length=cut)["input_ids"]
    return sum(map(len, ids)) / len(ids), f"by its tokenizer on {len(ids)} texts, cut at {cut}"


def _tokenizer(folder: Path | None) -> Any:
    if folder is None:
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError):
        return None


def _width(folder: Path | None) -> int | None:
    if folder is None:
        return None
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(folder).get_text_config().hidden_size)
    except (OSError, ValueError, AttributeError):
        return None


def probe_reading(recipe: Recipe, planned: Pass, n: int) -> ReadingProbe | None:
    """Have a pass read n texts, one more before them to load the weights, and time it; nothing is kept.

    None where there is nothing to read, or the weights are not here.
    """
    if len(planned.sample) < 2 or weights.ready(planned.sections[0].model) is None:
        return None
    from lmteach.students.backbone import Backbone

    backbones = [Backbone(s, device_name(recipe.trainer.accelerator)) for s in planned.sections]
    features = list(dict.fromkeys(feature for b in backbones for feature in b.features()))
    texts, reader = planned.sample[: n + 1], backbones[0]
    reader.run(texts[:1], features, _forget)
    started = time.perf_counter()
    reader.run(texts[1:], features, _forget)
    seconds = time.perf_counter() - started
    reader.free()
    ids = reader.tokenizer(texts[1:], truncation=True, max_length=reader.max_tokens)["input_ids"]
    return ReadingProbe(len(texts) - 1, sum(map(len, ids)), seconds)


def cost_pass(
    recipe: Recipe, planned: Pass, probe: ReadingProbe | None, machine_flops: float | None
) -> Extraction:
    """Put numbers on a pass.

    Args:
        probe: whose seconds count instead of an estimate.
        machine_flops: rate of matrix products of the machine that will read; None = this one is measured.
    """
    tokens = planned.tokens_each * planned.n_to_read
    seconds, how = _seconds(recipe, planned, tokens, probe, machine_flops)
    n_bytes = None if planned.bytes_each is None else planned.bytes_each * planned.n_to_read
    return Extraction(
        planned.title,
        planned.n_texts,
        planned.n_to_read,
        tokens,
        planned.tokens_how,
        seconds,
        how,
        n_bytes,
    )


def _seconds(
    recipe: Recipe,
    planned: Pass,
    tokens: float,
    probe: ReadingProbe | None,
    machine_flops: float | None,
) -> tuple[float | None, str]:
    if not planned.n_to_read:
        return 0.0, "all vectors are in the store"
    if probe is not None:
        how = f"a probe of {probe.n_texts} texts in {probe.seconds:.1f} s"
        return tokens * probe.seconds / max(1.0, probe.n_tokens), how
    section = planned.sections[0]
    try:
        flops = flops_per_token(weights.ready(section.model) or small_files(section.model) or Path("."))
    except LmteachError:
        return None, "the model is not here, and its sizes are not known"
    rate, whose = machine_flops, "of the machine"
    if rate is None:
        device = device_name(recipe.trainer.accelerator)
        rate, place = matmul_rate(device, choose_precision(section.precision, device))
        whose = f"that this machine's {place} reaches now"
    how = f"{flops / 1e9:.2g} GFLOP a token, at {SHARE_OF_PEAK:.0%} of the {rate / 1e12:.3g} TFLOP/s {whose}"
    return tokens * flops / (rate * SHARE_OF_PEAK), how


def _forget(places: npt.NDArray[np.int64], found: Any) -> None:
    """Keep nothing of what a probe read."""
