"""Which layer of a frozen backbone knows the classes best: a linear head on each, on cached features."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmteach.corpus.texts import Texts
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.labelled import one_hot
from lmteach.curriculum.supervision import gold_texts
from lmteach.errors import RecipeError, nearest_name
from lmteach.metrics.intervals import Interval, bootstrap_intervals
from lmteach.metrics.values import PerDocument
from lmteach.recipe.loss import build_loss
from lmteach.recipe.schema import Recipe
from lmteach.students.backbone import Backbone
from lmteach.students.features import read_features
from lmteach.students.layer_probe import Probed, ProbeOptions, fit_probe, right
from lmteach.tracking.console import Console


@dataclass(frozen=True)
class LayerScores:
    """One layer's accuracy, with 95% bootstrap intervals over documents; `test` None where not asked for."""

    layer: int
    validation: Interval
    test: Interval | None


def sweep_layers(
    recipe: Recipe, console: Console, *, only: str | None = None, test: bool = False
) -> dict[str, list[LayerScores]]:
    """Probe every layer of each backbone; print a table for each.

    Args:
        only: one backbone, by name.
        test: unseal test gold and measure on it too.

    Raises:
        RecipeError: the recipe has no frozen backbones, or none called `only`.
    """
    if recipe.student.kind != "classifier" or recipe.student.tuning != "frozen":
        raise RecipeError(
            "Only a recipe with frozen backbones has layers to sweep.",
            where="student.tuning",
            mend="`lmteach recipes` lists the llmembed ones.",
        )
    if not recipe.training.validation:
        raise RecipeError(
            "The layers are compared on validation texts, and there are none.",
            where="training.validation",
            mend="Set training.validation=0.1.",
        )
    context = open_context(recipe, console)
    backbones = [Backbone(section, context.device) for section in recipe.student.backbones]
    names = [backbone.name for backbone in backbones]
    if only is not None and only not in names:
        raise RecipeError(f"There is no backbone '{only}'.", nearest=nearest_name(only, names))
    found = {}
    for backbone in backbones:
        if only in (None, backbone.name):
            found[backbone.name] = _sweep(context, backbone, test=test)
            _print(console, backbone, found[backbone.name])
    return found


def _sweep(context: RunContext, backbone: Backbone, *, test: bool) -> list[LayerScores]:
    recipe, console = context.recipe, context.console
    if backbone.section.pooling == "pooler":  # which reads the last layer alone: compare the layers' means
        backbone = Backbone(dataclasses.replace(backbone.section, pooling="mean"), context.device)
    train, validation = gold_texts(context, context.first_positions()).split(
        recipe.training.validation, recipe.seed
    )
    assert validation is not None
    held_out = context.corpus.test if test else None
    test_texts = [] if held_out is None else [Texts.of(held_out)]
    layers = list(range(backbone.n_layers + 1))
    inputs = read_features(
        [backbone],
        Texts([train.texts, validation.texts, *test_texts]),
        console,
        store=Path(recipe.run.features),
        layers={backbone.name: layers},
    )
    settings, multilabel = recipe.training, recipe.student.multilabel
    options = ProbeOptions(epochs=settings.epochs, patience=settings.patience or 10, seed=recipe.seed)
    started = time.monotonic()
    probed = fit_probe(
        inputs.located[backbone.name],
        np.concatenate([train.targets_nC, validation.targets_nC]),
        len(train),
        build_loss(recipe),
        options,
    )
    console.say(f"probe {backbone.name}: {len(layers)} layers in {time.monotonic() - started:.1f} s")
    apart = _accuracy(context, probed, len(train), validation.targets_nC)
    if held_out is None:
        return [LayerScores(layer, interval, None) for layer, interval in zip(layers, apart, strict=True)]
    held_out.unseal()
    targets_nC = one_hot(held_out.gold, len(context.corpus.labels), multilabel)
    tested = _accuracy(context, probed, len(train) + len(validation), targets_nC)
    return [LayerScores(*row) for row in zip(layers, apart, tested, strict=True)]


def _accuracy(
    context: RunContext, probed: Probed, start: int, targets_nC: npt.NDArray[np.float32]
) -> list[Interval]:
    right_nL = right(probed.logits(start, len(targets_nC)), targets_nC, context.recipe.student.multilabel)
    settings = context.recipe.evaluation
    values = {str(i): PerDocument(column.astype(np.float64)) for i, column in enumerate(right_nL.T)}
    bounds = bootstrap_intervals(values, resamples=settings.resamples, seed=context.recipe.seed)
    return list(bounds.values())


def _print(console: Console, backbone: Backbone, scores: list[LayerScores]) -> None:
    best = max(scores, key=lambda score: score.validation.mean).layer
    rows = [
        [
            f"{score.layer}{' (best)' if score.layer == best else ''}",
            str(score.validation),
            *([] if score.test is None else [str(score.test)]),
        ]
        for score in scores
    ]
    tested = [] if scores[0].test is None else ["test accuracy"]
    console.table(
        f"{backbone.name}, {backbone.section.pooling} of {backbone.max_tokens} tokens at most; "
        "a linear head a layer, 0 is the embedding",
        ["layer", "validation accuracy", *tested],
        rows,
    )
