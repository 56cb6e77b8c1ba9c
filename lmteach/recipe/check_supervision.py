"""Contradictions between the keys that say whose labels a classifier learns, and what is made of their errors."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lmteach.recipe.schema import Recipe


def supervision_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with `supervision`, `classes` and `noise`."""
    if recipe.student.kind == "tagger":
        return
    extra = recipe.corpus.n_extra
    if extra is not None and extra < 0:
        yield f"corpus.n_extra = {extra} must be 0 or more, or null for all."
    if recipe.supervision in ("teacher_extra", "combined") and extra == 0:
        yield f"supervision = {recipe.supervision} labels documents beside the training ones; set corpus.n_extra."
    yield from _noise_problems(recipe)
    multilabel, settings = recipe.student.multilabel, recipe.classes
    if multilabel and settings.prior != "none":
        yield f"classes.prior = {settings.prior} is of one class a document, not of student.multilabel."
    if settings.prior == "contextual" and not [text for text in settings.content_free if text.strip()]:
        yield "classes.prior = contextual needs texts in classes.content_free."


def _noise_problems(recipe: Recipe) -> Iterator[str]:
    settings = recipe.noise
    if recipe.student.multilabel and settings.drop != "none":
        yield f"noise.drop = {settings.drop} is of one class a document, not of student.multilabel."
    if not 0 < settings.q <= 1:
        yield f"noise.q = {settings.q} must be above 0, at most 1."
    if not 0 <= settings.smoothing < 1:
        yield f"noise.smoothing = {settings.smoothing} must be 0 or more, below 1."
    weights = (settings.alpha, settings.beta)
    if not all(0 <= value < math.inf for value in weights) or not any(weights):
        yield f"noise.alpha = {settings.alpha}, noise.beta = {settings.beta} must be 0 or more, and not both 0."
    if recipe.supervision == "gold" and (settings.labels, settings.weights, settings.drop) != (
        "hard",
        "none",
        "none",
    ):
        yield "noise.labels, noise.weights and noise.drop are about a teacher's labels; supervision = gold has none."
