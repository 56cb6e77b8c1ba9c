"""The contract suite of teachers that make pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lmteach.teaching.protocol import PairTeacher, TeacherResources
from lmteach.testing.teachers import no_members
from lmteach.testing.texts import HOSTILE_TEXTS
from lmteach.types import Document


class PairTeacherContract:
    """What every `PairTeacher` must do. Override `build`."""

    other_keys: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def build(self, **keys: Any) -> PairTeacher:
        """Return the teacher, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def resources(self) -> TeacherResources:
        """Return resources for a teacher without members or corpus."""
        return TeacherResources(no_members, seed=108)

    def documents(self) -> list[Document]:
        """Return documents of which at least one gives a pair."""
        body = "It keeps the smallest item first. Pushing takes logarithmic time, and so does popping. " * 3
        plain = [Document(f"d{i}", f"Heap {i}\t{body}{i}", title=f"Heap {i}") for i in range(4)]
        return plain + [Document(f"h{i}", text) for i, text in enumerate(HOSTILE_TEXTS)]

    def test_it_is_a_pair_teacher_with_a_config(self) -> None:
        """Recipes find its keys in `Config`, which must be a dataclass."""
        teacher = self.build()
        assert isinstance(teacher, PairTeacher)
        assert dataclasses.is_dataclass(getattr(type(teacher), "Config", None))

    def test_the_identity_tells_configurations_apart(self) -> None:
        """It is part of a run's manifest."""
        identities = [self.build(**keys).identity for keys in ({}, {}, *self.other_keys)]
        assert len(set(identities)) == len(identities) - 1, identities

    def test_a_place_for_each_document(self) -> None:
        """Pairs are two texts, None for a document that gives none, in order."""
        pairs = self.build().pairs(self.documents(), 1)
        assert len(pairs) == len(self.documents())
        assert any(pair is not None for pair in pairs)
        for pair in pairs:
            assert pair is None or all(isinstance(text, str) and text.strip() for text in pair)

    def test_a_pair_depends_on_its_document_and_the_seed_alone(self) -> None:
        """A resumed run, and another grouping, make the same pairs."""
        documents, teacher = self.documents(), self.build()
        together = teacher.pairs(documents, 7)
        assert [self.build().pairs([document], 7)[0] for document in documents] == together
        assert teacher.pairs(documents[::-1], 7)[::-1] == together
        assert teacher.pairs([], 7) == []

    def test_closing_twice_is_no_error(self) -> None:
        """A run closes its teacher between cycles and at its end."""
        teacher = self.build()
        teacher.close()
        teacher.close()
