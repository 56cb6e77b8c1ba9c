"""From layers to a checked `Recipe`: every key strict, plugin sections by the plugin's own `Config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach import registry
from lmteach.errors import LmteachError, RecipeError, nearest_name
from lmteach.recipe.layers import Leaf, read_layers
from lmteach.recipe.loss import OF_KIND
from lmteach.recipe.schema import Recipe

if TYPE_CHECKING:
    from omegaconf import DictConfig

PLUGIN_SECTIONS = {
    "teacher": "teacher",
    "student.encoder": "encoder",
    "student.head": "head",
    "loss": "loss",
    "search.searcher": "searcher",
    "curriculum": "curriculum",
}
"""Dotted key of each section that names a plugin, and the plugin's kind."""

MEMBER_SECTIONS = ("calibration.teacher", "warmup.teacher")
"""Dotted keys of the sections that may name a teacher, or nobody."""

DEFAULT = "default"
LISTED = ("supervision", "seed")  # keys of which `lmteach fit` takes several values, and runs each


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, and for each dotted key the file and line that set it (`default` where none did)."""

    recipe: Recipe
    origins: Mapping[str, str]


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read a recipe by path or shipped name, with its parents and `key=value` overrides.

    Raises:
        RecipeError: every unknown key and wrong value found, in one message.
    """
    leaves = _merge(read_layers(reference, overrides))
    tree, problems = _apply(leaves)
    if problems:
        raise RecipeError(_sentence(reference, problems))
    recipe = _to_recipe(tree, leaves)
    if not recipe.name:
        recipe.name = Path(reference).stem
    origins = {
        key: leaves[key].origin if key in leaves else DEFAULT for key in flatten(dataclasses.asdict(recipe))
    }
    return LoadedRecipe(recipe, origins)


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML that `load_recipe` reads back to the same recipe."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_yaml(OmegaConf.create(registry.literal(dataclasses.asdict(recipe)))))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted key; lists and empty mappings are leaves."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _sentence(reference: str, problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{reference} has {len(problems)} faults:\n" + "\n".join(f"  - {p}" for p in problems)


def _merge(layers: Sequence[Sequence[Leaf]]) -> dict[str, Leaf]:
    """Later layers win. A layer that names another plugin drops the former plugin's keys."""
    sections = {name for name, value in vars(Recipe()).items() if not isinstance(value, str | int)}
    merged: dict[str, Leaf] = {}
    for layer in layers:
        names = {leaf.key: leaf.value for leaf in layer}
        for section in (*PLUGIN_SECTIONS, *MEMBER_SECTIONS):
            new, old = names.get(f"{section}.name"), merged.get(f"{section}.name")
            if new is not None and old is not None and new != old.value:
                merged = {k: v for k, v in merged.items() if not k.startswith(f"{section}.")}
        for leaf in layer:
            if leaf.key in sections and not leaf.value:
                continue  # a section whose keys are all commented out says nothing
            # The value takes the place of what lies below its key, and of a scalar that lies above it.
            merged = {
                key: value
                for key, value in merged.items()
                if not key.startswith(f"{leaf.key}.") and not leaf.key.startswith(f"{key}.")
            }
            if isinstance(leaf.value, Mapping) and leaf.value:  # an override such as teacher={name: oracle}
                for key, value in flatten(leaf.value, f"{leaf.key}.").items():
                    merged[key] = Leaf(key, value, leaf.origin)
            else:
                merged[leaf.key] = leaf
    return merged


def _apply(leaves: Mapping[str, Leaf]) -> tuple[dict[str, Any], list[str]]:
    """Set every leaf on the structured schema; return the whole as plain mappings, and all problems."""
    from omegaconf import OmegaConf

    problems: list[str] = []
    tree = OmegaConf.structured(Recipe())
    plugins: dict[str, DictConfig] = {}
    names: dict[str, str] = {}
    for section, kind in PLUGIN_SECTIONS.items():
        leaf = leaves.get(f"{section}.name")
        names[section] = str(leaf.value if leaf else _default_name(section, leaves))
        try:
            plugins[section] = registry.config_schema(registry.load(kind, names[section]))
        except LmteachError as error:
            problems.append(f"{leaf.origin}: {error}" if leaf else str(error))
    for leaf in leaves.values():
        if leaf.key in PLUGIN_SECTIONS and isinstance(leaf.value, str):
            problems.append(_word_for_section(leaf))
            continue
        section = next((s for s in PLUGIN_SECTIONS if leaf.key.startswith(f"{s}.")), "")
        key = leaf.key[len(section) + 1 :] if section else leaf.key
        if (section and key == "name") or (section and section not in plugins):
            continue
        problem = _set(plugins[section] if section else tree, key, leaf, section, names.get(section, ""))
        if problem:
            problems.append(problem)
    plain = OmegaConf.to_container(tree)
    assert isinstance(plain, dict)
    for section, node in plugins.items():
        options = OmegaConf.to_container(node)
        assert isinstance(options, dict)
        parent, _, last = section.rpartition(".")
        (plain[parent] if parent else plain)[last] = {"name": names[section], **options}
    return {str(k): v for k, v in plain.items()}, problems


def _default_name(section: str, leaves: Mapping[str, Leaf]) -> str:
    """Return the plugin that a section names where no recipe does."""
    if section == "loss":
        kind = leaves.get("student.kind")
        return OF_KIND.get(str(kind.value) if kind else Recipe().student.kind, OF_KIND["tagger"])
    return str(flatten(dataclasses.asdict(Recipe()))[f"{section}.name"])


def _word_for_section(leaf: Leaf) -> str:
    """Return what to say of a word where a plugin's section belongs."""
    return (
        f"{leaf.origin}: '{leaf.key}' cannot be '{leaf.value}': it is a section, whose {PLUGIN_SECTIONS[leaf.key]} "
        f"is named by {leaf.key}.name={leaf.value}."
    )


def _set(tree: DictConfig, key: str, leaf: Leaf, section: str, plugin: str) -> str | None:
    """Set one leaf by its key below `tree`; return what is wrong with it, if anything.

    Args:
        section, plugin: the plugin section that `tree` is, and the plugin it names; empty = the whole recipe.
    """
    from omegaconf import AnyNode, DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    node: Any = tree
    parts = key.split(".")
    for depth, part in enumerate(parts):
        above = ".".join([*([section] if section else []), *parts[:depth]])
        if not isinstance(node, DictConfig):
            return f"{leaf.origin}: '{above}' is a value, it has no key '{part}'."
        here = [str(k) for k in node]  # `in` denies a key that has no value yet
        if part not in here:
            if issubclass(OmegaConf.get_type(node) or dict, dict):
                break  # an open mapping of a plugin's Config takes any key
            return _unknown(leaf, above, part, here, "" if depth else plugin)
        if depth < len(parts) - 1:
            if isinstance(node._get_node(part), AnyNode):
                node[part] = {}  # a value of any type becomes a mapping, say `prompt` with keys of its own
            node = node[part]
    try:
        # Merged, a list takes the place of the former one, and its mappings are held to their schema.
        OmegaConf.update(tree, key, leaf.value, merge=isinstance(leaf.value, list), force_add=True)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        hint = ". Several at once are for `lmteach fit` alone" if leaf.key in LISTED else ""
        return f"{leaf.origin}: '{leaf.key}' cannot be {leaf.value!r}: {str(error).splitlines()[0]}{hint}"
    return None


def _unknown(leaf: Leaf, above: str, part: str, here: list[str], plugin: str = "") -> str:
    """Return what to say of a key that is not there.

    Args:
        plugin: the one whose Config it is not in.
    """
    text = f"{leaf.origin}: There is no key '{part}' " + (
        f"in '{above}'." if above else "at the top of a recipe."
    )
    near = nearest_name(part, here)
    if near is None and plugin:
        kind = PLUGIN_SECTIONS[above]
        others = [entry.name for entry in registry.entries(kind) if part in _keys_of(kind, entry.name)]
        if others:
            have = f"{' and '.join(others)} {'has' if len(others) == 1 else 'have'} one"
            return f"{text} The {kind} {plugin} has {', '.join(sorted(here)) or 'no keys'}; {have}."
    if near is None:  # the right name in the wrong section is a common slip
        known = flatten(dataclasses.asdict(Recipe()))
        near = next((key for key in known if key.rpartition(".")[2] == part), None)
    return text + (
        f" Did you mean '{near}'?" if near else f" There are: {', '.join(sorted(here)) or 'none'}."
    )


def _keys_of(kind: str, name: str) -> list[str]:
    """Return the keys of an announced plugin; none of one that cannot be loaded."""
    try:
        return [f.name for f in dataclasses.fields(registry.load(kind, name).Config)]
    except LmteachError:
        return []


def _to_recipe(plain: Mapping[str, Any], leaves: Mapping[str, Leaf]) -> Recipe:
    """Resolve interpolations and members of plugins; check the types that came out."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values: Any = OmegaConf.to_container(
            OmegaConf.create(dict(plain)), resolve=True, throw_on_missing=True
        )
        for section, kind in PLUGIN_SECTIONS.items():
            parent, _, last = section.rpartition(".")
            owner = values[parent] if parent else values
            owner[last] = resolve_section(kind, owner[last], section)
        for section in MEMBER_SECTIONS:
            parent, _, last = section.rpartition(".")
            if values[parent][last]:
                values[parent][last] = resolve_section("teacher", values[parent][last], section)
        merged = OmegaConf.merge(OmegaConf.structured(Recipe()), registry.literal(values))
        recipe: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = str(error.full_key or "")
        where = f"{leaves[key].origin}: {key}" if key in leaves else key
        raise RecipeError(f"{str(error).splitlines()[0]}.", where=where or None) from error
    assert isinstance(recipe, Recipe)
    return recipe


def _resolve_members(kind: str, section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Resolve plugin sections inside a plugin's Config: fields with `metadata={"plugin": KIND}`."""
    name, options = registry.split_section(section)
    cls = registry.load(kind, name)
    for f in dataclasses.fields(cls.Config):
        inner = f.metadata.get("plugin")
        if inner is None or not options.get(f.name):
            continue
        value = options[f.name]
        if isinstance(value, Mapping):
            options[f.name] = resolve_section(inner, value, f"{where}.{f.name}")
        else:
            options[f.name] = [
                resolve_section(inner, v, f"{where}.{f.name}[{i}]") for i, v in enumerate(value)
            ]
    return {"name": name, **options}


def resolve_section(kind: str, section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a plugin section with every default of the plugin's `Config` filled in.

    Raises:
        RecipeError: no name, an unknown key, or a value of the wrong type.
    """
    from omegaconf import OmegaConf

    if not isinstance(section, Mapping) or "name" not in section:
        raise RecipeError(f"A {kind} needs a `name`.", where=where, mend="`lmteach plugins` lists the names.")
    name, options = registry.split_section(section)
    config = registry.configure(registry.load(kind, name), options, where)
    plain: Any = OmegaConf.to_container(OmegaConf.structured(config))
    return _resolve_members(kind, {"name": name, **plain}, where)
