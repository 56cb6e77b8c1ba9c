"""Rows of a model card: the method, the teacher and its prompts, how the student was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmteach.recipe.loss import loss_section

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe

METHODS = {
    "lmtx": "LMTX (Zhang, Ullah, Babbar, COLING 2025): a teacher judges the student's own shortlists, in cycles",
    "once": "one cycle: a teacher judges the student's shortlists once, and the student learns from it",
}
SUPERVISION = {
    "gold": "gold labels of its corpus; no teacher",
    "teacher": "a teacher's answers instead of gold labels",
    "teacher_extra": "a teacher's answers on further texts",
    "combined": "a teacher's answers and gold labels",
}


def teaching_rows(recipe: Recipe, manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return how a student was taught, as its resolved recipe and its run's manifest say."""
    rows = [["recipe", f"`{recipe.name}`, seed {recipe.seed}"]]
    classifier = recipe.student.kind == "classifier"
    if classifier:
        rows.append(["learned from", SUPERVISION.get(recipe.supervision, recipe.supervision)])
    else:
        name = str(recipe.curriculum.get("name", ""))
        rows.append(["method", METHODS.get(name, f"`{name}`")])
    if has_teacher(recipe):
        rows += _teacher_rows(recipe, manifest)
    rows += _classifier_rows(recipe) if classifier else _tagger_rows(recipe)
    rows += _start_rows(manifest)
    training = recipe.training
    said = f"{training.epochs} epoch(s), batch {training.batch_size}, learning rate {training.lr:g}"
    said += ("" if classifier else " a cycle") + f", loss `{loss_section(recipe)['name']}`"
    rows.append(["training", said])
    return rows


def has_teacher(recipe: Recipe) -> bool:
    """Return whether anybody but gold labels taught the student."""
    return recipe.student.kind == "tagger" or recipe.supervision != "gold"


def _teacher_rows(recipe: Recipe, manifest: Mapping[str, Any]) -> list[list[str]]:
    rows = [["teacher", _teacher(recipe.teacher)]]
    if manifest.get("teacher"):
        rows.append(["teacher's identity", f"`{manifest['teacher']}`"])
    for i, prompt in enumerate(_prompts(recipe.teacher)):
        rows.append(["" if i else "prompt", prompt])
    return rows


def _tagger_rows(recipe: Recipe) -> list[list[str]]:
    rule = recipe.annotation
    value = {"threshold": rule.threshold, "quantile": rule.quantile, "top": rule.keep}[rule.rule]
    return [["a label is positive by the rule", f"`{rule.rule}` ({value:g})"]]


def _classifier_rows(recipe: Recipe) -> list[list[str]]:
    student = recipe.student
    if student.tuning != "frozen":
        return [["student", f"an encoder with a classification head, tuned: {student.tuning}"]]
    backbones = ", ".join(f"`{backbone.model}`" for backbone in student.backbones)
    said = f"a {student.head['name']} head on frozen features, fused by `{student.fusion.name}`"
    return [
        ["student", said],
        ["backbones", f"{backbones}: not in this folder, loaded from where they are named"],
    ]


def _start_rows(manifest: Mapping[str, Any]) -> list[list[str]]:
    found = manifest.get("student_start") or []
    starts = found if isinstance(found, list) else [found]
    return [
        [
            "student's start",
            f"`{start.get('model')}` (fingerprint {str(start.get('fingerprint', 'not known'))[:16]})",
        ]
        for start in starts
        if isinstance(start, Mapping)
    ]


def _teacher(section: Mapping[str, Any]) -> str:
    name = section.get("name", "none")
    model = f", model `{section['model']}`" if section.get("model") else ""
    members = section.get("members") or []
    inner = "; ".join(_teacher(member) for member in members if isinstance(member, Mapping))
    return f"`{name}`{model}" + (f" of: {inner}" if inner else "")


def _prompts(section: Mapping[str, Any]) -> Iterator[str]:
    """Yield each prompt that a teacher or its members ask, by name, with its words where it is a preset."""
    from lmteach.teaching.wordings import PRESETS

    prompt = section.get("prompt")
    if isinstance(prompt, str) and prompt:
        words = PRESETS[prompt].user if prompt in PRESETS else ""
        yield f"`{prompt}`" + (f": {_one_line(words)}" if words else "")
    elif isinstance(prompt, Mapping):
        yield f"`{prompt.get('name', 'custom')}`: {_one_line(str(prompt.get('user', '')))}"
    for member in section.get("members") or []:
        if isinstance(member, Mapping):
            yield from _prompts(member)


def _one_line(text: str) -> str:
    return "`" + " ".join(text.split()).replace("`", "'") + "`"
