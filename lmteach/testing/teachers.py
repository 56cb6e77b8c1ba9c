"""The contract suite of teachers that judge."""

from __future__ import annotations

import dataclasses
import gc
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.testing.texts import HOSTILE_TEXTS
from lmteach.types import Judgement, Verdict


def no_members(section: Mapping[str, Any]) -> NoReturn:
    """Stand in for `TeacherResources.build` where a teacher has no members to build."""
    raise AssertionError(f"it builds the member {dict(section)}")


class TeacherContract:
    """What every `Teacher` must do. Override `build`; the rest where the defaults do not suit.

    Attributes:
        other_keys: keys for `build` each of which must give the teacher another identity.
        tolerance: how far scores may differ between two ways to group the same judgements.
        answers_any_text: False for teachers that know only certain documents (`oracle`); the tests with
            hostile texts are then left out.
    """

    other_keys: ClassVar[Sequence[Mapping[str, Any]]] = ()
    tolerance: ClassVar[float] = 1e-4
    answers_any_text: ClassVar[bool] = True

    def build(self, **keys: Any) -> Teacher:
        """Return the teacher, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def resources(self) -> TeacherResources:
        """Return resources for a teacher without members or corpus."""
        return TeacherResources(no_members, seed=108)

    def judgements(self) -> list[Judgement]:
        """Return at least three judgements with several candidates each, of unlike lengths."""
        texts = (
            "The heap module keeps the smallest item first and pushes in logarithmic time.",
            "Bake the bread for forty minutes. " * 12,
            "Regulation on the labelling of beef.",
        )
        candidates = ("data structures", "cooking", "agriculture and food law", "astronomy")
        return [
            Judgement(text, candidates, f"d{i}", student_scores=(0.5, 0.25, 0.125, 0.0))
            for i, text in enumerate(texts)
        ]

    def test_it_is_a_teacher_with_a_config(self) -> None:
        """Recipes find its keys in `Config`, which must be a dataclass."""
        teacher = self.build()
        assert isinstance(teacher, Teacher)
        assert dataclasses.is_dataclass(getattr(type(teacher), "Config", None))
        assert teacher.scope in ("pair", "list", "none")

    def test_the_identity_is_stable_text(self) -> None:
        """The store's keys hold it: a change throws away what was paid for."""
        first, second = self.build(), self.build()
        assert isinstance(first.identity, str)
        assert first.identity.strip()
        assert first.identity == first.identity == second.identity

    def test_the_identity_tells_configurations_apart(self) -> None:
        """Two configurations of one identity would read each other's answers from the store."""
        identities = [self.build(**keys).identity for keys in ({}, *self.other_keys)]
        assert len(set(identities)) == len(identities), identities

    def test_a_verdict_for_each_judgement(self) -> None:
        """One verdict a judgement, one score a candidate, None where unread, never NaN."""
        judgements = self.judgements()
        for judgement, verdict in zip(judgements, self.build().judge(judgements), strict=True):
            check_verdict(judgement, verdict)

    def test_the_order_of_judgements_is_kept(self) -> None:
        """Batches are sorted by length inside many teachers; the answers must come back in order."""
        judgements, teacher = self.judgements(), self.build()
        forward, backward = teacher.judge(judgements), teacher.judge(judgements[::-1])
        self.check_alike(forward, backward[::-1])

    def test_grouping_does_not_matter(self) -> None:
        """The store and a resumed run ask in other batches than the first run did."""
        judgements, teacher = self.judgements(), self.build()
        together = teacher.judge([*judgements, *judgements])
        alone = [teacher.judge([judgement])[0] for judgement in judgements]
        self.check_alike(together, alone * 2)

    def test_another_instance_says_the_same(self) -> None:
        """A resumed run has a new instance."""
        judgements = self.judgements()
        self.check_alike(self.build().judge(judgements), self.build().judge(judgements))

    def test_a_pair_depends_on_itself_alone(self) -> None:
        """A teacher of scope `pair` is asked only for the candidates that the store does not know."""
        teacher = self.build()
        if teacher.scope != "pair":
            return
        whole = self.judgements()[0]
        n = len(whole.candidates)
        turned = dataclasses.replace(
            whole,
            candidates=whole.candidates[::-1],
            label_ids=whole.label_ids[::-1],
            student_scores=whole.student_scores[::-1],
            descriptions=whole.descriptions[::-1],
        )
        single = [
            dataclasses.replace(whole, candidates=(c,), label_ids=(), student_scores=(), descriptions=())
            for c in whole.candidates
        ]
        (first,), (second,) = teacher.judge([whole]), teacher.judge([turned])
        self.check_alike([first], [dataclasses.replace(second, scores=second.scores[::-1])])
        each = tuple(verdict.scores[0] for verdict in teacher.judge(single))
        assert len(each) == n
        self.check_alike([first], [Verdict(each)])

    def test_nothing_asked_nothing_said(self) -> None:
        """An empty batch, and a judgement without candidates, are no errors."""
        teacher = self.build()
        assert list(teacher.judge([])) == []
        bare = dataclasses.replace(self.judgements()[0], candidates=(), label_ids=(), student_scores=())
        (verdict,) = teacher.judge([bare])
        assert verdict.scores == ()

    def test_hostile_documents_are_documents(self) -> None:
        """Empty, huge and template-like texts get answers (or None), and disturb no neighbour."""
        if not self.answers_any_text:
            return
        teacher, plain = self.build(), self.judgements()[0]
        hostile = [dataclasses.replace(plain, document=text) for text in HOSTILE_TEXTS]
        verdicts = teacher.judge([plain, *hostile, plain])
        for judgement, verdict in zip([plain, *hostile, plain], verdicts, strict=True):
            check_verdict(judgement, verdict)
        self.check_alike([verdicts[0], verdicts[-1]], teacher.judge([plain]) * 2)

    def test_closing_twice_is_no_error(self) -> None:
        """A run closes its teacher between cycles and at its end."""
        teacher = self.build()
        teacher.judge(self.judgements()[:1])
        teacher.close()
        teacher.close()

    def test_closing_frees_memory(self) -> None:
        """The student trains on the same machine when the teacher has spoken."""
        self.build().close()  # what is loaded once and for all is loaded now
        gc.freeze()  # from here on the collector sees new objects alone
        try:
            teacher = self.build()
            teacher.judge(self.judgements())
            teacher.close()
            assert held_by_new_tensors() <= 1_000_000
        finally:
            gc.unfreeze()

    def check_alike(self, first: Sequence[Verdict], second: Sequence[Verdict]) -> None:
        """Check that two ways to ask got the same scores."""
        for a, b in zip(first, second, strict=True):
            for x, y in zip(a.scores, b.scores, strict=True):
                assert (x is None) == (y is None), (a.scores, b.scores)
                assert x is None or y is None or abs(x - y) <= self.tolerance, (a.scores, b.scores)


def held_by_new_tensors() -> int:
    """Return the bytes that torch tensors made since `gc.freeze` hold; 0 where torch is not imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def check_verdict(judgement: Judgement, verdict: Verdict) -> None:
    """Check a verdict's form: as many scores as candidates, finite or None; sound raw answers and usage."""
    n = len(judgement.candidates)
    assert len(verdict.scores) == n
    assert all(
        score is None or (isinstance(score, float) and math.isfinite(score)) for score in verdict.scores
    )
    assert len(verdict.raw) in (0, 1, n)
    assert all(isinstance(text, str) for text in verdict.raw)
    usage = verdict.usage
    assert min(usage.prompt_tokens, usage.answer_tokens, usage.seconds, usage.usd, usage.joules or 0) >= 0
    assert all(math.isfinite(value) for value in verdict.details.values())
