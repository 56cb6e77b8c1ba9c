"""Runs a contract suite over a plugin by its name, without pytest."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmteach import registry
from lmteach.corpus.corpus import Corpus, Documents, LabelSet
from lmteach.errors import LmteachError, PluginError
from lmteach.recipe.loss import kind_of
from lmteach.teaching.protocol import TeacherResources
from lmteach.testing.curricula import CurriculumContract
from lmteach.testing.encoders import EncoderContract
from lmteach.testing.heads import HeadContract
from lmteach.testing.losses import ClassLossContract, LossContract, TaggerLossContract
from lmteach.testing.pair_teachers import PairTeacherContract
from lmteach.testing.searchers import SearcherContract
from lmteach.testing.teachers import TeacherContract
from lmteach.types import Document

HEAVY = ("torch", "transformers", "lightning", "peft", "vllm", "pyarrow", "sqlalchemy")
"""What a plugin's module must not import: `lmteach show` imports the module to learn its keys."""

SUITES: Mapping[str, type[Any]] = {
    "teacher": TeacherContract,
    "encoder": EncoderContract,
    "searcher": SearcherContract,
    "curriculum": CurriculumContract,
    "head": HeadContract,
    "loss": LossContract,
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One test: its name, what a failure would break, and what was found (empty = it passed)."""

    test: str
    why: str
    fault: str = ""


def suite_of(
    kind: str, name: str, keys: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()
) -> type[Any]:
    """Return the contract suite of an installed plugin, or of `./file.py:Class`.

    Args:
        kind: one of `SUITES`.
        keys: keys of its Config by which it is built.
        others: further keys, each of which must give a teacher another identity.

    Raises:
        PluginError: there is no such plugin, or no suite of its kind.
        RecipeError: its Config has no such key, or needs one that was not given.
    """
    cls = registry.load(kind, name)
    if kind not in SUITES:
        raise PluginError(f"There is no contract suite for a {kind}.")
    suite = _suite_for(kind, cls)
    for given in ({}, *others):
        registry.configure(cls, {**keys, **given}, f"{kind} '{name}'")

    def build(self: Any, *, multilabel: bool = False, **more: Any) -> Any:
        config = registry.configure(cls, {**keys, **more}, f"{kind} '{name}'")
        if kind == "teacher":
            return cls(config, _resources(self))
        return cls(config, multilabel) if suite is ClassLossContract else cls(config)

    found = {"build": build, "config": lambda self: cls.Config, "other_keys": tuple(others)}
    return type(f"{cls.__name__}Contract", (suite,), found)


def _suite_for(kind: str, cls: type[Any]) -> type[Any]:
    """Return the suite of a plugin: teachers and losses are of two sorts."""
    if kind == "teacher" and hasattr(cls, "pairs"):
        return PairTeacherContract
    if kind == "loss":
        suites = {"tagger": TaggerLossContract, "classifier": ClassLossContract}
        return suites.get(kind_of(cls, cls.__name__), LossContract)
    return SUITES[kind]


def run_suite(suite: type[Any], leave_out: Sequence[str] = ()) -> Iterator[Outcome]:
    """Yield each test's outcome as soon as it is known; a new instance a test.

    Raises:
        PluginError: `leave_out` names a test that the suite has not.
    """
    names = [name for name in vars_of(suite) if name.startswith("test_")]
    for name in leave_out:
        if name not in names:
            raise PluginError(f"The suite has no test '{name}'.", mend=f"It has: {', '.join(names)}.")
    for name in names:
        if name not in leave_out:
            why = (getattr(suite, name).__doc__ or "").strip()
            try:
                getattr(suite(), name)()
            except Exception as error:
                yield Outcome(name, why, _fault(error))
            else:
                yield Outcome(name, why)


def vars_of(suite: type[Any]) -> list[str]:
    """Return the names in a suite and its parents, those of the parents first, in the order they are written."""
    return list(dict.fromkeys(name for cls in reversed(suite.__mro__) for name in vars(cls)))


def heavy_imports(kind: str, name: str) -> list[str]:
    """Return which of `HEAVY` are imported in order to read the plugin's keys, in a Python of its own."""
    program = (
        "import sys; from lmteach import registry\n"
        "registry.config_schema(registry.load(sys.argv[1], sys.argv[2]))\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, kind, name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PluginError(f"It cannot be imported by itself: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.split()


def _fault(error: Exception) -> str:
    """Return what failed in a line or two: an explained error as it is, else the line that raised it."""
    if isinstance(error, LmteachError):
        return f"{type(error).__name__}: {error}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = str(error).strip().partition("\n")[0] or last.line
    return f"{type(error).__name__}: {said} ({last.filename}:{last.lineno})"


def _resources(suite: Any) -> TeacherResources:
    """Return resources with a corpus of the suite's own documents, and with real members."""
    corpus = None
    if isinstance(suite, TeacherContract):
        judgements = suite.judgements()
        names = judgements[0].candidates
        documents = [Document(j.document_id, j.document, (i % len(names),)) for i, j in enumerate(judgements)]
        corpus = Corpus("suite", LabelSet(names, names), Documents.of(documents), None, None, "suite")

    def member(section: Mapping[str, Any]) -> Any:
        return registry.build("teacher", section, TeacherResources(member, corpus, 108))

    return TeacherResources(member, corpus, seed=108)
