"""Which loss a recipe's student learns by: the one it names, or that of the student's kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmteach import registry
from lmteach.errors import LmteachError, PluginError, RecipeError
from lmteach.recipe.schema import Recipe

OF_KIND = {"tagger": "weighted_triplet", "classifier": "ce"}
"""The loss of each `student.kind` where a recipe names none."""


def loss_section(recipe: Recipe) -> Mapping[str, Any]:
    """Return the section `loss`; one that names nothing is that of the student's kind."""
    return {"name": OF_KIND[recipe.student.kind], **recipe.loss}


def build_loss(recipe: Recipe) -> Any:
    """Return the loss of a recipe: a `TaggerLoss` or a `ClassLoss`, as `student.kind` wants.

    Raises:
        RecipeError: the loss is one of the other kind of student, or a value is out of range.
        PluginError: there is no such loss, or it is broken.
    """
    section, kind = loss_section(recipe), recipe.student.kind
    cls = registry.load("loss", section["name"])
    serves = kind_of(cls, section["name"])
    if serves != kind:
        raise RecipeError(
            f"The loss '{section['name']}' is for a {serves}, and student.kind is {kind}.",
            where="loss.name",
            mend=f"Losses for a {kind}: {', '.join(losses_of(kind))}.",
        )
    return registry.build("loss", section, *([recipe.student.multilabel] if kind == "classifier" else []))


def kind_of(cls: type[Any], name: str) -> str:
    """Return which `student.kind` a loss serves.

    Raises:
        PluginError: it does not say.
    """
    kind = getattr(cls, "student_kind", None)
    if kind not in OF_KIND:
        raise PluginError(
            f"The loss '{name}' has student_kind = {kind!r}, so nobody knows whom it is for.",
            mend='Write student_kind = "tagger" or student_kind = "classifier" into the class.',
        )
    return str(kind)


def losses_of(kind: str) -> list[str]:
    """Return the names of the installed losses for a kind of student; broken ones are left out."""
    found = []
    for entry in registry.entries("loss"):
        try:
            if kind_of(registry.load("loss", entry.name), entry.name) == kind:
                found.append(entry.name)
        except LmteachError:
            continue
    return found
