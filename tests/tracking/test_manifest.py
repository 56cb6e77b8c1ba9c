"""What a run was made with."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys

import pytest

from lmteach.tracking import manifest
from lmteach.tracking.manifest import describe_run, versions


def test_it_holds_what_decides_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/lmteach", "fit", "--recipe", "x"])
    found = describe_run(seed=7, fingerprints={"corpus": "abc", "teacher": "t"})
    assert found["seed"] == 7
    assert (found["corpus"], found["teacher"]) == ("abc", "t")
    assert found["command"] == ["lmteach", "fit", "--recipe", "x"]
    assert found["python"] == platform.python_version()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["written"])
    assert json.loads(json.dumps(found)) == found


def test_versions_are_those_installed_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "PACKAGES", (*manifest.PACKAGES, "no-such-package"))
    found = versions()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["lmteach"] == importlib.metadata.version("lmteach")
    assert "no-such-package" not in found
