"""Plugins by entry point: names are listed without importing; a plugin is imported when asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from lmteach.errors import LmteachError, PluginError, RecipeError, nearest_name

KINDS = {
    "teacher": "lmteach.teachers",
    "encoder": "lmteach.encoders",
    "searcher": "lmteach.searchers",
    "curriculum": "lmteach.curricula",
    "head": "lmteach.heads",
    "loss": "lmteach.losses",
}


@dataclass(frozen=True)
class PluginEntry:
    """One name as some distribution announces it; nothing is imported to make it."""

    kind: str
    name: str
    target: str
    distribution: str
    version: str


@cache
def entries(kind: str) -> tuple[PluginEntry, ...]:
    """Return every announced plugin of a kind, sorted by name; clashes stay in the list.

    Raises:
        PluginError: `kind` is none of `KINDS`.
    """
    if kind not in KINDS:
        raise PluginError(f"There is no plugin kind '{kind}'.", nearest=nearest_name(kind, KINDS))
    found = set()
    for point in importlib.metadata.entry_points(group=KINDS[kind]):
        about: Any = point.dist.metadata if point.dist else {}  # one that is damaged lacks them
        owner, version = (str(about[key]) if key in about else "?" for key in ("Name", "Version"))
        found.add(PluginEntry(kind, point.name, point.value, owner, version))
    return tuple(sorted(found, key=lambda e: (e.name, e.distribution)))


def load(kind: str, name: str, folder: Path | None = None) -> type[Any]:
    """Import and return a plugin class.

    Args:
        kind: one of `KINDS`.
        name: an announced name, or `path/to/file.py:ClassName` for scratch work.
        folder: where a relative file path starts; the working directory if None.

    Raises:
        PluginError: unknown, announced twice, or broken.
    """
    if ".py:" in name:
        file_name, _, attribute = name.rpartition(":")
        return _load_file(kind, (folder or Path.cwd()) / Path(file_name).expanduser(), attribute)
    return _load_announced(kind, name)


@cache
def _load_announced(kind: str, name: str) -> type[Any]:
    found = [e for e in entries(kind) if e.name == name]
    if not found:
        raise PluginError(
            f"There is no {kind} named '{name}'.",
            nearest=nearest_name(name, [e.name for e in entries(kind)]),
            mend="`lmteach plugins` lists what is installed.",
        )
    if len(found) > 1:
        owners = " and ".join(f"{e.distribution} ({e.target})" for e in found)
        raise PluginError(
            f"The {kind} '{name}' is announced twice: by {owners}.", mend="Uninstall one of the two."
        )
    module, _, attribute = found[0].target.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except LmteachError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"The {kind} '{name}' of {found[0].distribution} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return _checked(kind, name, cls)


@cache
def _load_file(kind: str, path: Path, attribute: str) -> type[Any]:
    path = path.resolve()
    if not path.is_file():
        raise PluginError(f"There is no file {path} to load the {kind} '{attribute}' from.")
    # The name tells apart files of one name in two folders.
    module_name = f"lmteach_scratch_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    module = sys.modules.get(module_name) or _execute(module_name, path)
    if not hasattr(module, attribute):
        raise PluginError(f"{path} has no '{attribute}'.", nearest=nearest_name(attribute, dir(module)))
    return _checked(kind, f"{path.name}:{attribute}", getattr(module, attribute))


def _execute(module_name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up while they are made
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if isinstance(error, LmteachError) or not isinstance(error, Exception | SystemExit):
            raise
        raise PluginError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _checked(kind: str, name: str, cls: Any) -> type[Any]:
    if not dataclasses.is_dataclass(getattr(cls, "Config", None)):
        raise PluginError(f"The {kind} '{name}' has no Config dataclass, so its recipe keys are unknown.")
    return cast("type[Any]", cls)


def config_schema(cls: type[Any]) -> Any:
    """Return a plugin's `Config` as an OmegaConf schema: its keys, types and defaults.

    Raises:
        PluginError: a field is of a type that recipes cannot hold.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.structured(cls.Config)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise PluginError(f"The Config of {cls.__name__} cannot hold recipe keys: {reason}.") from error


def literal(value: Any) -> Any:
    """Return plain values with `${` escaped, so that OmegaConf takes text for text and not for a reference."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, Mapping):
        return {key: literal(inner) for key, inner in value.items()}
    return [literal(inner) for inner in value] if isinstance(value, list | tuple) else value


def split_section(section: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split a recipe's plugin section into the plugin's name and its own keys."""
    options = dict(section)
    return str(options.pop("name")), options


def configure(cls: type[Any], options: Mapping[str, Any], where: str = "") -> Any:
    """Return the plugin's `Config` filled from plain options, strictly.

    Raises:
        RecipeError: an unknown key, a missing one, or a value of the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = config_schema(cls)
    known = [str(key) for key in schema]  # `in` would deny a key that has no default
    unknown = [key for key in options if key not in known]
    if unknown:
        raise RecipeError(
            f"{cls.__name__} has no key '{unknown[0]}'.",
            where=where or None,
            nearest=nearest_name(unknown[0], known),
        )
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, literal(options)))
    except OmegaConfBaseException as error:
        raise RecipeError(str(error).splitlines()[0], where=where or None) from error


def build(kind: str, section: Mapping[str, Any], *arguments: Any) -> Any:
    """Build the plugin a recipe section names, with its Config and further arguments of its kind."""
    name, options = split_section(section)
    cls = load(kind, name)
    return cls(configure(cls, options, f"{kind} '{name}'"), *arguments)
