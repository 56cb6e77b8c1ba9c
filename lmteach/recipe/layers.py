"""Recipe files as layers: parents by `extends:`, then the recipe, then overrides; each value with its origin."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lmteach.errors import RecipeError, nearest_name
from lmteach.recipe.schema import Recipe

COMMAND_LINE = "command line"
MERGE = "tag:yaml.org,2002:merge"  # of the key `<<`


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


def shipped_sweeps() -> list[Path]:
    """Return the shipped sweeps, by name."""
    return sorted((shipped_folder() / "sweeps").glob("*.yaml"))


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
        path = _find_parent(parent, path) if parent else None
    return [*layers, [parse_override(text) for text in overrides]]


def _find_parent(parent: str, child: Path) -> Path:
    try:
        return find_recipe(parent, child.parent)
    except RecipeError as error:
        raise RecipeError(f"`extends`: {error.what}", where=str(child), nearest=error.nearest) from error


def parse_override(text: str) -> Leaf:
    """Read `key=value`; leading dashes are dropped, as sweeps and habit put them there.

    A key of text takes text as it stands, unless it is in quotes: `corpus.text={title}` is no mapping,
    `name=2024` no number, `corpus.path=` no null.

    Raises:
        RecipeError: no `key=value`, no YAML, or a place within a list.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, equals, written = text.lstrip("-").partition("=")
    if not equals or not key:
        raise RecipeError(
            f"'{text}' is no override.", mend="Write key=value, for example training.batch_size=64."
        )
    if "[" in key:
        raise RecipeError(
            f"'{key}' is a place within a list, and a list is set as a whole.",
            where=COMMAND_LINE,
            mend=f"Write {key.partition('[')[0]}=[...].",
        )
    if key in text_keys() and not written.startswith(("'", '"')):
        return Leaf(key, written, COMMAND_LINE)
    try:
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={written}"]))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise RecipeError(f"'{text}' cannot be read: {_first_line(error)}", where=COMMAND_LINE) from error
    return Leaf(key, parsed["value"], COMMAND_LINE)


@cache
def text_keys() -> frozenset[str]:
    """Return the dotted keys of the schema whose values are text."""
    keys: set[str] = set()
    for name, value in vars(Recipe()).items():
        section = vars(value) if dataclasses.is_dataclass(value) else {}
        keys |= {f"{name}.{key}" for key, inner in section.items() if isinstance(inner, str)}
        keys |= {name} if isinstance(value, str) else set()
    return frozenset(keys)


def _read_file(path: Path) -> tuple[list[Leaf], str]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is None or tree.tag == "tag:yaml.org,2002:null":
            return [], ""
        if not isinstance(tree, yaml.MappingNode):
            raise RecipeError("A recipe is a mapping of sections.", where=str(path))
        _refuse_twins(tree, "", path)
        values = OmegaConf.to_container(OmegaConf.create(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise RecipeError(f"This is not YAML: {error.problem}.", where=f"{path}:{line}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise RecipeError(f"This recipe cannot be read: {_first_line(error)}", where=str(path)) from error
    assert isinstance(values, dict)
    parent = values.get("extends") or ""
    if not isinstance(parent, str):
        raise RecipeError("`extends` names one parent, as text.", where=str(path))
    leaves = [
        Leaf(key, value, f"{path.name}:{line}")
        for key, value, line in _walk(tree, values, "", path)
        if key != "extends"
    ]
    return leaves, parent


def _first_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        return error.problem
    return next(iter(str(error).splitlines()), type(error).__name__)


def _refuse_twins(node: yaml.Node, prefix: str, path: Path) -> None:
    """Raise RecipeError where a key stands twice in one mapping: YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_twins(child, prefix, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, child in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in seen and key_node.tag != MERGE:
            raise RecipeError(
                f"'{prefix}{name}' stands twice, first on line {seen[name]}.", where=f"{path}:{line}"
            )
        seen[name] = line
        _refuse_twins(child, f"{prefix}{name}.", path)


def _walk(node: yaml.MappingNode, values: Any, prefix: str, path: Path) -> Iterator[tuple[str, Any, int]]:
    """Yield (dotted key, value, line) of every leaf; `node` is the YAML node that `values` came from."""
    for name, (key_node, child) in _children(node).items():
        line = key_node.start_mark.line + 1
        if name not in values:
            raise RecipeError(
                f"The key '{prefix}{name}' is read as {key_node.tag.rpartition(':')[2]}, not as text.",
                where=f"{path}:{line}",
                mend=f"Put it in quotes: '{name}'.",
            )
        if isinstance(child, yaml.MappingNode) and child.value:
            yield from _walk(child, values[name], f"{prefix}{name}.", path)
        else:
            yield f"{prefix}{name}", values[name], line


def _children(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Return a mapping's key and value nodes by name, those merged in by `<<` included."""
    own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key_node, child in node.value:
        if key_node.tag != MERGE:
            own[str(key_node.value)] = (key_node, child)
            continue
        for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
            for name, nodes in _children(source).items():
                merged.setdefault(name, nodes)
    return merged | own
