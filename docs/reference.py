"""What the documentation says about recipe keys, plugins, recipes and faults, read from the code itself."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmteach import errors, registry
from lmteach.recipe import schema
from lmteach.recipe.layers import shipped_folder
from lmteach.recipe.load import MEMBER_SECTIONS, PLUGIN_SECTIONS

ROOT = Path(__file__).resolve().parent.parent


def recipe_keys() -> str:
    """Return a section for each part of a recipe: its docstring, and a table of its keys."""
    parts = [_section(schema.Recipe, "", "The top of a recipe")]
    for key, cls in _sections(schema.Recipe, ""):
        parts.append(_section(cls, f"{key}.", f"`{key}`"))
    return "\n\n".join(parts)


def plugin_keys() -> str:
    """Return a section for each announced plugin: what it is, where it is named, and a table of its keys."""
    parts = []
    for kind in registry.KINDS:
        places = [key for key, named in PLUGIN_SECTIONS.items() if named == kind]
        places += MEMBER_SECTIONS if kind == "teacher" else ()
        title = {"curriculum": "Curricula", "loss": "Losses"}.get(kind, f"{kind.capitalize()}s")
        parts.append(f"## {title}\n\nNamed in {', '.join(f'`{p}`' for p in places)}.")
        for entry in registry.entries(kind):
            cls = registry.load(kind, entry.name)
            if not cls.__module__.startswith("lmteach_plugins."):
                continue  # whatever else is installed where the site is built
            about = _plain(inspect.getdoc(cls) or inspect.getdoc(inspect.getmodule(cls)) or "")
            about = f"For a {cls.student_kind}. {about}" if kind == "loss" else about
            parts.append(f"### {kind} `{entry.name}`\n\n{about}\n\n{_table(cls.Config, '')}")
    return "\n\n".join(parts)


def shipped_recipes() -> str:
    """Return a table of the shipped recipes: file, parent, and the first line of the opening comment."""
    rows = ["| recipe | what it does | small |", "|---|---|---|"]
    for path in sorted(shipped_folder().glob("*.yaml")):
        comment = [line.lstrip("# ").rstrip() for line in _opening(path)]
        small = next((line.partition(":")[2].strip() for line in comment if line.startswith("Small:")), "")
        rows.append(f"| `{path.stem}` | {_cell(comment[0])} | {f'`{_cell(small)}`' if small else ''} |")
    return "\n".join(rows)


def faults() -> str:
    """Return a table of faults for each class of error: what is said, and how to mend it."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted([*(ROOT / "lmteach").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        if "templates" in path.parts:
            continue
        for error, what, mend in _raised(path):
            found.setdefault(error, {})[what] = mend
    parts = []
    for error in sorted(set(found) & _OURS):
        rows = [f"| {_cell(what)} | {_cell(mend)} |" for what, mend in sorted(found[error].items())]
        parts.append(
            "\n".join([f"### {error}", "", _doc_of(error), "", "| it says | mend it |", "|---|---|", *rows])
        )
    return "\n\n".join(parts)


GENERATED = {
    "recipe-keys": recipe_keys,
    "plugin-keys": plugin_keys,
    "recipes": shipped_recipes,
    "faults": faults,
}


_OURS = {
    name
    for name, cls in vars(errors).items()
    if inspect.isclass(cls) and issubclass(cls, errors.LmteachError)
}


def _sections(cls: type[Any], prefix: str) -> Iterator[tuple[str, type[Any]]]:
    """Yield (dotted key, dataclass) of every section below `cls`, lists of sections included."""
    hints = _types(cls)
    for field in dataclasses.fields(cls):
        inner = hints[field.name]
        item = next((a for a in getattr(inner, "__args__", ()) if dataclasses.is_dataclass(a)), None)
        if dataclasses.is_dataclass(inner) or item is not None:
            key = f"{prefix}{field.name}" + ("[]" if item is not None else "")
            section = inner if item is None else item
            yield key, section
            yield from _sections(section, f"{key}.")


def _types(cls: type[Any]) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(cls)


def _section(cls: type[Any], prefix: str, title: str) -> str:
    about = _plain(inspect.getdoc(cls) or "")
    return f"## {title}\n\n{about}\n\n{_table(cls, prefix)}"


def _table(cls: type[Any], prefix: str) -> str:
    comments, rows = _comments(cls), ["| key | type | default | |", "|---|---|---|---|"]
    hints = _types(cls)
    for field in dataclasses.fields(cls):
        inner = hints[field.name]
        if dataclasses.is_dataclass(inner) or any(
            map(dataclasses.is_dataclass, getattr(inner, "__args__", ()))
        ):
            continue  # a section of its own
        written = re.sub(
            r"Literal\[(.*?)\]", lambda found: found[1].replace("'", "").replace('"', ""), str(field.type)
        )
        written = written.replace("dict[str, Any]", "section").replace("None", "null")
        about = comments.get(field.name, "")
        rows.append(f"| `{prefix}{field.name}` | `{_cell(written)}` | {_default(field)} | {_cell(about)} |")
    return "\n".join(rows) if len(rows) > 2 else "It has no keys of its own."


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "must be set"
    if value is None:
        return "`null`"
    if value in ("", {}, []):
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{_cell(text)}`"


def _comments(cls: type[Any]) -> Mapping[str, str]:
    """Return what is said of each field: a comment behind it, or a line of `Attributes:` in the docstring."""
    source = textwrap.dedent(inspect.getsource(cls))
    found: dict[str, str] = _attributes(inspect.getdoc(cls) or "")
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.ClassDef)
    at = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
            said = " ".join(at[line] for line in lines if line in at)
            if said:
                found[statement.target.id] = said
    return found


def _attributes(docstring: str) -> dict[str, str]:
    body = docstring.partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        new = re.match(r"    (\w+): (.*)", line)
        if new:
            name = new[1]
            found[name] = new[2]
        elif name and line.startswith("     "):
            found[name] += " " + line.strip()
    return found


def _plain(docstring: str) -> str:
    """Return a docstring without its `Attributes:`, which the table shows."""
    return docstring.partition("Attributes:\n")[0].strip()


def _opening(path: Path) -> list[str]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return lines or ["#"]


def _raised(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (class, what, mend) of every error that a file makes and of which the text is in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
            what = _text(node.args[0]) if node.args else ""
            mend = next((_text(k.value) for k in node.keywords if k.arg == "mend"), "")
            if len(what.strip("… .")) > 8:
                yield node.func.id, what, mend


def _text(node: ast.expr) -> str:
    """Return the text of a string, with … for what is filled in; empty where it is no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
        return "".join(parts)
    return ""


def _doc_of(error: str) -> str:
    return (inspect.getdoc(getattr(errors, error, None)) or "").partition("\n")[0]


def _cell(text: str) -> str:
    """Return text that a table can hold."""
    return " ".join(text.replace("|", "\\|").split())
