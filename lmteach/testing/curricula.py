"""The contract suite of curricula."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmteach.curriculum.protocol import Curriculum, CycleResult, CycleState, Positions


class CurriculumContract:
    """What every `Curriculum` must do. Override `build`."""

    def build(self, **keys: Any) -> Curriculum:
        """Return the curriculum, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def states(self) -> list[CycleState]:
        """Return the states of runs: of several corpora and seeds, with and without a student to ask."""
        curriculum, states = self.build(), []
        for n_documents in (1, 2, 50, 1000):
            for seed, has_student in ((0, False), (108, True)):
                labelled = np.zeros(0, np.int64)
                for cycle in range(min(curriculum.max_cycles, 4)):
                    state = state_of(cycle, n_documents, seed, labelled, has_student=has_student)
                    states.append(state)
                    labelled = np.union1d(labelled, curriculum.select(state))
        return states

    def test_it_is_a_curriculum_with_a_config(self) -> None:
        """Recipes find its keys in `Config`, which must be a dataclass."""
        curriculum = self.build()
        assert isinstance(curriculum, Curriculum)
        assert dataclasses.is_dataclass(getattr(type(curriculum), "Config", None))
        assert isinstance(curriculum.max_cycles, int)
        assert curriculum.max_cycles >= 1

    def test_it_selects_documents_that_there_are(self) -> None:
        """None twice, its labels would count twice; and at least one while there are unlabelled ones."""
        curriculum = self.build()
        for state in self.states():
            chosen = curriculum.select(state)
            assert chosen.dtype == np.int64
            assert chosen.ndim == 1
            assert len(chosen) or len(state.labelled) == state.n_documents, state
            assert len(np.unique(chosen)) == len(chosen), state
            assert chosen.min(initial=0) >= 0, state
            assert chosen.max(initial=0) < state.n_documents, state

    def test_a_selection_depends_on_its_state_alone(self) -> None:
        """A resumed run has a new instance and asks for a later cycle first."""
        curriculum, states = self.build(), self.states()
        forward = [curriculum.select(state) for state in states]
        backward = [self.build().select(state) for state in states[::-1]][::-1]
        for first, second in zip(forward, backward, strict=True):
            np.testing.assert_array_equal(first, second)

    def test_going_on_depends_on_the_history_alone(self) -> None:
        """A resumed run decides alike, whatever was asked before."""
        curriculum = self.build()
        histories = [
            history(*values) for values in ((0.1,), (0.3, 0.2), (0.1, 0.2), (0.0, 0.0), (0.5, 0.6, 0.7))
        ]
        kept = [list(seen) for seen in histories]
        forward = [curriculum.keep_going(seen) for seen in histories]
        backward = [self.build().keep_going(seen) for seen in histories[::-1]][::-1]
        assert all(isinstance(answer, bool) for answer in forward), forward
        assert forward == backward
        assert histories == kept, "a history was changed"

    def test_it_ends(self) -> None:
        """However well it goes."""
        curriculum = self.build()
        rising = [i / 1000 for i in range(curriculum.max_cycles)]
        assert curriculum.keep_going(history(*rising)) is False


def state_of(
    cycle: int, n_documents: int, seed: int, labelled: Positions, *, has_student: bool
) -> CycleState:
    """Return the state of a cycle; with a student, vectors and, after the first cycle, probabilities of 3 classes."""
    if not has_student:
        return CycleState(cycle, n_documents, seed, labelled)
    rng = np.random.default_rng([n_documents, 7])
    vectors_nD = rng.standard_normal((n_documents, 6)).astype(np.float32)
    vectors_nD /= np.linalg.norm(vectors_nD, axis=1, keepdims=True)
    p_nC = rng.dirichlet(np.ones(3), size=n_documents)
    return CycleState(
        cycle,
        n_documents,
        seed,
        labelled,
        vectors=lambda positions: vectors_nD[positions],
        probabilities=(lambda positions: p_nC[positions]) if cycle else None,
    )


def history(*dev_p1: float) -> Sequence[CycleResult]:
    """Return the results of cycles with these P@1 on dev."""
    return [CycleResult(cycle, value, 10) for cycle, value in enumerate(dev_p1)]
