"""The random teacher: its rates, and that it is chance."""

from __future__ import annotations

import numpy as np
import pytest

from lmteach.errors import TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.testing import no_members
from lmteach.types import Judgement
from lmteach_plugins.teachers.random import RandomTeacher


def scores(seed: int = 1, **keys: float) -> np.ndarray:
    teacher = RandomTeacher(RandomTeacher.Config(**keys), TeacherResources(no_members, seed=seed))  # type: ignore[arg-type]
    batch = [Judgement(f"d{i}", tuple(f"c{j}" for j in range(20))) for i in range(500)]
    return np.array([v.scores for v in teacher.judge(batch)], dtype=np.float64)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_yes_rate_is_kept(rate: float) -> None:
    assert (scores(yes_rate=rate) > 0).mean() == pytest.approx(rate, abs=0.02)


def test_the_unread_rate_is_kept() -> None:
    assert np.isnan(scores(unread=0.3)).mean() == pytest.approx(0.3, abs=0.02)


def test_documents_candidates_and_seeds_are_drawn_apart() -> None:
    drawn, other = scores(), scores(seed=2)
    assert len(np.unique(drawn)) == drawn.size
    assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.15


@pytest.mark.parametrize("keys", [{"yes_rate": 0.0}, {"yes_rate": 1.0}, {"unread": 1.1}])
def test_senseless_rates_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(TeacherError, match="between 0 and 1"):
        scores(**keys)
