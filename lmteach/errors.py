"""Errors that a user can act on: what happened, where, the nearest right name, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LmteachError(Exception):
    """Base of every error lmteach raises on purpose; the command line prints it without a traceback.

    Args:
        what: what is wrong, in one sentence.
        where: the file and line, recipe key, or step it is wrong in.
        nearest: the right name the user probably meant.
        mend: what to do about it, a command where there is one.
    """

    def __init__(
        self, what: str, *, where: str | None = None, nearest: str | None = None, mend: str | None = None
    ) -> None:
        self.what, self.where, self.nearest, self.mend = what, where, nearest, mend
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.nearest:
            text += f" Did you mean '{self.nearest}'?"
        if self.mend:
            text += f"\n  {self.mend}"
        return text


class RecipeError(LmteachError):
    """A recipe cannot be read or contradicts itself."""


class CorpusError(LmteachError):
    """A corpus, label set or input file cannot be read, or breaks a rule."""


class PluginError(LmteachError):
    """A plugin is unknown, broken, ambiguous, or lacks an extra."""


class TeacherError(LmteachError):
    """A teacher cannot be loaded, or answers with something no teacher may answer."""


class StoreError(LmteachError):
    """The store of verdicts cannot be opened, read or written."""


class RunError(LmteachError):
    """A run folder is missing, in use, incomplete, or does not fit the request."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None when nothing is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def missing_package(package: str, *, needed_by: str, command: str) -> PluginError:
    """Return the error for a package that is not installed, with the command that installs it."""
    return PluginError(f"{needed_by} needs the package {package}, which is not installed.", mend=command)
