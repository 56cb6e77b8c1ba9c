"""A large language model teaches a small one to tag or classify text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmteach.serving.load import load_student as load_student
    from lmteach.serving.student import Student as Student
    from lmteach.students.tags import Tags as Tags

__version__ = "0.1.0"

_PUBLIC = {
    "Student": "lmteach.serving.student",
    "load_student": "lmteach.serving.load",
    "Tags": "lmteach.students.tags",
}
__all__ = ["Student", "Tags", "__version__", "load_student"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for, so that the command line does not pay for it."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lmteach' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)
