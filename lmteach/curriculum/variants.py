"""A recipe's teacher with another prompt or other keys: what an audit compares it with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lmteach import registry
from lmteach.errors import RecipeError, RunError
from lmteach.recipe.load import resolve_section


def with_prompt(section: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """Return a teacher's section, and those of its members, with another prompt wherever they take one.

    Raises:
        RecipeError: there is no such prompt.
        RunError: no part of the teacher takes a prompt.
    """
    from lmteach.teaching.prompts import load_prompt

    load_prompt(prompt)
    changed, n = _set_prompt(section, prompt)
    if not n:
        raise RunError(f"The teacher '{section['name']}' takes no prompt.", where="--prompt")
    return changed


def _set_prompt(section: Mapping[str, Any], prompt: str) -> tuple[dict[str, Any], int]:
    changed, n = dict(section), 0
    for key in dataclasses.fields(registry.load("teacher", section["name"]).Config):
        value = changed.get(key.name)
        if key.name == "prompt":
            changed[key.name], n = prompt, n + 1
        elif key.metadata.get("plugin") == "teacher" and value:
            many = [value] if isinstance(value, Mapping) else list(value)
            set_, counts = zip(*(_set_prompt(inner, prompt) for inner in many), strict=True)
            changed[key.name], n = (set_[0] if isinstance(value, Mapping) else list(set_)), n + sum(counts)
    return changed, n


def with_keys(section: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return a teacher's section with keys laid over it; those of another teacher if they name one.

    Raises:
        RecipeError: an unknown teacher or key.
    """
    base = dict(section) if keys.get("name", section["name"]) == section["name"] else {}
    return resolve_section("teacher", {**base, **keys}, "--teacher")


def title(section: Mapping[str, Any]) -> str:
    """Return a teacher and what it is made of, in a few words."""
    from lmteach.teaching.planning import teacher_parts

    try:
        parts = [part.title for part in teacher_parts(section)]
    except RecipeError:
        parts = []
    inner = " + ".join(parts)
    return inner if inner.startswith(section["name"]) or not inner else f"{section['name']} of {inner}"
