"""Contradictions between the keys of a classifier's recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lmteach.recipe.schema import Recipe


def classifier_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with the keys of `student.kind`."""
    student, settings = recipe.student, recipe.training
    if student.kind == "tagger":
        return
    if not 0 <= settings.validation < 1:
        yield f"training.validation = {settings.validation} is a share: 0 or more, below 1."
    if settings.patience is not None and (settings.patience < 1 or not settings.validation):
        yield (
            f"training.patience = {settings.patience} needs to be 1 or more, and training.validation above 0 "
            "to have something to wait for; or null."
        )
    if student.tuning == "frozen":
        yield from _frozen_problems(recipe)
    elif student.backbones:
        yield f"student.backbones are read by student.tuning=frozen alone, not by {student.tuning}."
    if student.tuning == "lora" and (student.lora.rank < 1 or not 0 < student.lora.alpha < math.inf):
        yield "student.lora.rank and student.lora.alpha must be above 0."


def _frozen_problems(recipe: Recipe) -> Iterator[str]:
    student = recipe.student
    if not student.backbones:
        yield "student.tuning = frozen needs student.backbones: a list of {model, layers, pooling, max_tokens}."
    names = [backbone_name(b.name, b.model) for b in student.backbones]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        yield f"Two student.backbones are called '{twins[0]}'; give each a `name`."
    for name, backbone in zip(names, student.backbones, strict=True):
        if not backbone.model:
            yield "A backbone of student.backbones has no `model`."
        if not backbone.layers or len(set(backbone.layers)) < len(backbone.layers):
            yield f"The backbone {name} needs `layers`, each once; it has {backbone.layers}."
        if backbone.pooling == "pooler" and backbone.layers != [-1]:
            yield f"The backbone {name} has its pooler on the last layer only: layers: [-1]."
        if backbone.max_tokens < 3:
            yield f"The backbone {name} has max_tokens = {backbone.max_tokens}; it must be 3 or more."
    fusion = student.fusion
    if fusion.base and fusion.base not in names:
        yield f"student.fusion.base = {fusion.base} is none of the backbones: {', '.join(names)}."
    for key, value in {
        "fusion.dropout": fusion.dropout,
        "fusion.backbone_dropout": fusion.backbone_dropout,
    }.items():
        if not 0 <= value < 1:
            yield f"student.{key} = {value} must be 0 or more, below 1."
    if fusion.width is not None and fusion.width < 1:
        yield f"student.fusion.width = {fusion.width} must be 1 or more, or null."
    if not 0 < fusion.sigma < math.inf:
        yield f"student.fusion.sigma = {fusion.sigma} must be above 0."


def backbone_name(name: str, model: str) -> str:
    """Return what a backbone is called: its name, or the last telling part of its model."""
    return name or model.removeprefix("package:").rstrip("/").removesuffix("/model").rpartition("/")[2]
