"""What a run was made with: versions, seed, machine, fingerprints of data and models."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

PACKAGES = ("lmteach", "torch", "lightning", "transformers", "scann", "numpy", "pyarrow", "sqlalchemy")


def describe_run(*, seed: int, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's content.

    Args:
        fingerprints: content hashes and identities: of the corpus, the teacher, the student's start.
    """
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
        "seed": seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions(),
        **fingerprints,
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide a run's result; a missing one is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
