"""A classifier's cycles: documents are labelled once, training uses all of them, a resumed run does not pay again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.curriculum.cycles import fit
from lmteach.curriculum.planning import lay_groundwork
from lmteach.errors import RecipeError
from lmteach.tracking.console import Console

KEYS = (
    "supervision=teacher",
    "training.validation=0.2",
    "training.epochs=1",
    "curriculum={name: uncertainty, n_documents: 12, cycles: 3, flat: 0, patience: 3}",
)


def run(start: Any, *keys: str, resume: bool = False) -> tuple[dict[str, Any], Path]:
    context, folder = start(*KEYS, *keys)
    context.store.close()
    return fit(context.recipe, Console(quiet=True), resume=resume), folder.path


def test_cycles_grow_and_a_killed_run_pays_nothing_twice(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lmteach.curriculum import learning

    log = f"teacher.log={tmp_path}/log"
    real, calls = learning._measure, []

    def killed(*arguments: Any) -> Any:
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(learning, "_measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run(start, log)
    chosen = [np.load(path) for path in sorted((tmp_path / "run").glob("cycles/*/positions.npy"))]
    monkeypatch.setattr(learning, "_measure", real)
    final, folder = run(start, log, resume=True)
    assert [point["labelled"] for point in final["curve"]] == [12, 24, 36]
    again = [np.load(path) for path in sorted(folder.glob("cycles/*/positions.npy"))]
    for before, after in zip(chosen, again, strict=False):
        np.testing.assert_array_equal(before, after)
    assert len(set(np.concatenate(again).tolist())) == 36
    assert len((tmp_path / "log").read_text().splitlines()) == 36  # each document was asked about once
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in shown if len(line) == 2 and line[0].isdecimal()] == ["12", "24", "36"]
    assert ["teacher", "on", "36", "train", "documents:"] in [line[:5] for line in shown]
    assert final["teacher"]["train"]["accuracy"] == 1
    assert (folder / "student" / "lmteach.json").is_file()
    assert json.loads((folder / "cycles" / "02" / "cycle.json").read_text())["labelled"] == 36


def test_a_plan_counts_every_cycle(start: Any) -> None:
    context, _ = start(*KEYS)
    work = lay_groundwork(context.recipe, Console(quiet=True))
    assert [(s.cycle, s.n_documents) for s in work.stages] == [(0, 12), (1, 12), (2, 12)]


@pytest.mark.parametrize("key", ["supervision=gold", "training.validation=0"])
def test_what_a_curve_needs_is_asked_for(start: Any, key: str) -> None:
    with pytest.raises(RecipeError, match=r"supervision|validation"):
        run(start, key)
