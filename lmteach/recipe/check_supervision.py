"""Contradictions between the keys that say whose labels a classifier learns, and what is made of their errors."""

from __future__ import annotations

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
    if recipe.supervision == "gold" and (settings.labels, settings.weights, settings.drop) != (
        "hard",
        "none",
        "none",
    ):
        yield "noise.labels, noise.weights and noise.drop are about a teacher's labels; supervision = gold has none."
