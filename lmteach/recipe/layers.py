"""Recipe files as layers: parents by `extends:`, then the recipe, then overrides; each value with its origin."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmteach.errors import RecipeError, nearest_name

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Leaf:
    """One value of a recipe: a scalar, a list, or an empty mapping; `key` is dotted."""

    key: str
    value: Any
    origin: str  # "file.yaml:12" or "command line"


def shipped_folder() -> Path:
    """Return the folder of the shipped recipes, without importing them."""
    spec = importlib.util.find_spec("lmteach_recipes")
    if spec is None or spec.origin is None:
        raise RecipeError("The shipped recipes are not installed.", mend="Install lmteach again with pip.")
    return Path(spec.origin).parent


def shipped_recipes() -> list[Path]:
    """Return the shipped recipes that can be run (not their parents), by name."""
    return sorted(shipped_folder().glob("*.yaml"))


def find_recipe(reference: str, beside: Path | None = None) -> Path:
    """Return the file that a name or path means.

    A path wins over a shipped name; `beside` is the folder of the recipe that names its parent.

    Raises:
        RecipeError: there is no such recipe; the nearest shipped name is given.
    """
    name = reference if reference.endswith((".yaml", ".yml")) else f"{reference}.yaml"
    shipped = shipped_folder()
    for folder in [*([beside] if beside else []), Path.cwd(), shipped]:
        if (folder / name).is_file():
            return folder / name
    known = [p.name for p in shipped_recipes()]
    raise RecipeError(
        f"There is no recipe '{reference}', neither as a path nor among the shipped ones.",
        nearest=nearest_name(name, known),
        mend="`lmteach recipes` lists the shipped ones.",
    )


def read_layers(reference: str, overrides: Sequence[str] = ()) -> list[list[Leaf]]:
    """Return the layers of a recipe, the farthest parent first, the overrides last.

    Raises:
        RecipeError: a file is missing or no YAML mapping, `extends` goes in a circle, or an override is no
            `key=value`.
    """
    layers: list[list[Leaf]] = []
    path: Path | None = find_recipe(reference)
    seen: list[Path] = []
    while path is not None:
        if path.resolve() in seen:
            raise RecipeError("`extends` goes in a circle.", where=str(path))
        seen.append(path.resolve())
        leaves, parent = _read_file(path)
        layers.insert(0, leaves)
        path = find_recipe(parent, path.parent) if parent else None
    return [*layers, [parse_override(text) for text in overrides]]


def parse_override(text: str) -> Leaf:
    """Read `key=value`; leading dashes are dropped, as sweeps and habit put them there."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, equals, _ = text.lstrip("-").partition("=")
    if not equals or not key:
        raise RecipeError(
            f"'{text}' is no override.", mend="Write key=value, for example training.batch_size=64."
        )
    try:
        node = OmegaConf.to_container(OmegaConf.from_dotlist([text.lstrip("-")]))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise RecipeError(f"'{text}' cannot be read: {error}", where=COMMAND_LINE) from error
    for part in key.split("."):
        assert isinstance(node, dict)
        node = node[part]
    return Leaf(key, node, COMMAND_LINE)


def _read_file(path: Path) -> tuple[list[Leaf], str]:
    from omegaconf import OmegaConf

    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = OmegaConf.to_container(OmegaConf.create(text)) if tree is not None else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise RecipeError(f"This is not YAML: {error.problem}", where=f"{path}:{line}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"This recipe cannot be read: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise RecipeError("A recipe is a mapping of sections.", where=str(path))
    parent = str(values.pop("extends", "") or "")
    leaves = [
        Leaf(key, value, f"{path.name}:{line}")
        for key, value, line in _walk(tree, values, "")
        if key != "extends"
    ]
    return leaves, parent


def _walk(node: Any, value: Any, prefix: str) -> Iterator[tuple[str, Any, int]]:
    """Yield (dotted key, value, line) of every leaf; `node` is the YAML node that `value` came from."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, child in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in seen:
            raise RecipeError(f"'{prefix}{name}' stands twice, in lines {seen[name]} and {line}.")
        seen[name] = line
        if name not in value:  # `extends`, taken out before
            continue
        if isinstance(child, yaml.MappingNode) and child.value:
            yield from _walk(child, value[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value[name], line
