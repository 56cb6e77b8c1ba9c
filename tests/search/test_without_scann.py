"""Where ScaNN has no wheels, as on macOS: a fit whose searcher would be ScaNN is done by exact search."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmteach.search import choose


@pytest.fixture
def no_scann(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import scann` fail and `find_spec` find nothing, as where it is not installed."""
    for module in [m for m in sys.modules if m.partition(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "scann", None)
    monkeypatch.setattr(choose, "scann_seconds", lambda n_labels, n_queries, dim: 0.0)  # it would be chosen


@pytest.mark.usefixtures("no_scann")
def test_a_fit_with_the_searcher_auto(
    call: Callable[..., Any], recipe_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = ("search.searcher={name: auto, exact_below: 1}", "curriculum.cycles=1", "training.epochs=1")
    with caplog.at_level(logging.INFO, "lmteach_plugins.searchers"):
        status, _, err = call("fit", "--recipe", recipe_file, "--quiet", *overrides)
    assert status == 0, err
    reasons = [r.message for r in caplog.records if r.message.startswith("search:")]
    assert set(reasons) == {"search: exact (the package scann is not installed)"}
    final = json.loads((recipe_file.parent / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < final["student"]["p@1"] <= 1


@pytest.mark.usefixtures("no_scann")
def test_the_searcher_scann_says_how_to_come_by_it(call: Callable[..., Any], recipe_file: Path) -> None:
    status, _, err = call("fit", "--recipe", recipe_file, "--quiet", "search.searcher={name: scann}")
    assert status != 0
    assert "pip install scann" in err
    assert "search.searcher.name=exact" in err
