"""The contract suites of losses: of taggers and of classifiers.

Shape legend: B texts, G labels drawn for them and for other ranks' texts, C classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from lmteach.errors import RecipeError
from lmteach.students.protocol import ClassLoss, TaggerLoss
from lmteach.testing.heads import refuses_unknown_keys

if TYPE_CHECKING:
    from torch import Tensor


class LossContract:
    """What every loss must do. Subclass `TaggerLossContract` or `ClassLossContract`, not this."""

    student_kind: ClassVar[str] = ""

    def build(self, **keys: Any) -> Any:
        """Return the loss, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def test_it_says_whom_it_is_for(self) -> None:
        """A recipe that pairs it with the wrong kind of student is refused by `student_kind`."""
        found = getattr(type(self.build()), "student_kind", None)
        assert found in ("tagger", "classifier"), f"student_kind is {found!r}"
        assert found == self.student_kind, (
            f"student_kind is {found!r}; this is the suite of a {self.student_kind}'s"
        )

    def test_it_has_a_config_and_is_called(self) -> None:
        """Recipes find its keys in `Config`, which must be a dataclass."""
        loss = self.build()
        assert dataclasses.is_dataclass(getattr(type(loss), "Config", None))
        assert isinstance(loss, TaggerLoss | ClassLoss)

    def test_a_key_that_is_not_there_is_refused(self) -> None:
        """A typo in a recipe must not pass."""
        refuses_unknown_keys(type(self.build()))


class TaggerLossContract(LossContract):
    """What every loss of a tagger must do. Override `build`."""

    student_kind: ClassVar[str] = "tagger"

    def build(self, **keys: Any) -> TaggerLoss:
        """Return the loss, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def test_a_finite_scalar(self) -> None:
        """Of one document, of many, of more labels than documents, of labels that are all right."""
        import torch

        loss = self.build()
        for n, n_labels in ((1, 1), (2, 2), (8, 8), (3, 20)):
            scores_BG, positive_BG = batch(n, n_labels)
            for given in (
                scores_BG,
                torch.ones(n, n_labels),
                -torch.ones(n, n_labels),
                torch.zeros(n, n_labels),
            ):
                for right in (positive_BG, torch.ones(n, n_labels, dtype=torch.bool)):
                    value, gradient = gradient_of(lambda s, right=right: loss(s, right, 0), given)
                    assert value.ndim == 0
                    assert value.dtype == torch.float32
                    assert torch.isfinite(value)
                    assert torch.isfinite(gradient).all()

    def test_it_teaches(self) -> None:
        """What is right costs less than what is wrong, and the gradient pulls a document to its own label."""
        import torch

        loss, (_, positive_BG) = self.build(), batch(8, 8)
        eye_BG = torch.eye(8)
        assert loss(eye_BG, positive_BG) < loss(1 - eye_BG, positive_BG)
        value, gradient_BG = gradient_of(lambda s: loss(s, positive_BG, 0), 0.5 * torch.ones(8, 8))
        assert value > 0
        assert (gradient_BG.diagonal() < 0).all(), "a document is not pulled to its own label"
        assert gradient_BG[~positive_BG].sum() > 0, "no negative is pushed away"

    def test_a_right_label_is_not_pushed_away(self) -> None:
        """Labels of the yes set are no negatives, however near they are."""
        loss = self.build()
        for n, n_labels in ((8, 8), (5, 12)):
            scores_BG, positive_BG = batch(n, n_labels)
            scores_BG = scores_BG.masked_fill(positive_BG, 0.99)
            _, gradient_BG = gradient_of(lambda s, right=positive_BG: loss(s, right, 0), scores_BG)
            assert gradient_BG[positive_BG].max() <= 1e-6

    def test_the_loss_of_a_batch_is_the_mean_of_its_documents(self) -> None:
        """Each rank holds some of the rows: only so are their losses and gradients together those of one process."""
        import torch

        loss, (scores_BG, positive_BG) = self.build(), batch(6, 11, first=3)
        rows = [slice(i, i + 1) for i in range(6)]
        each = torch.stack([loss(scores_BG[r], positive_BG[r], 3 + r.start) for r in rows])
        torch.testing.assert_close(loss(scores_BG, positive_BG, 3), each.mean(), rtol=1e-4, atol=1e-6)

    def test_the_same_twice_and_of_another_instance(self) -> None:
        """A resumed run has a new instance; a loss remembers nothing, and changes nothing that it is given."""
        import torch

        loss, (scores_BG, positive_BG) = self.build(), batch(8, 8)
        kept = scores_BG.clone(), positive_BG.clone()
        first = loss(scores_BG, positive_BG)
        loss(*batch(3, 3))
        assert torch.equal(first, loss(scores_BG, positive_BG))
        assert torch.equal(first, self.build()(scores_BG, positive_BG))
        assert torch.equal(kept[0], scores_BG)
        assert torch.equal(kept[1], positive_BG)


class ClassLossContract(LossContract):
    """What every loss of a classifier must do. Override `build`.

    A loss that has no meaning for several classes a text raises RecipeError when built with `multilabel`; what
    the suite asks of one class a text it asks of several too where it does not.
    """

    student_kind: ClassVar[str] = "classifier"

    def build(self, *, multilabel: bool = False, **keys: Any) -> ClassLoss:
        """Return the loss, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def losses(self) -> list[tuple[ClassLoss, bool]]:
        """Return the loss for one class a text, and for several where it has a meaning there."""
        found = [(self.build(), False)]
        with contextlib.suppress(RecipeError):
            found.append((self.build(multilabel=True), True))
        return found

    def test_a_finite_scalar_with_finite_gradients(self) -> None:
        """Also where the student is as sure as can be, and wrong; of one text and two classes, of many."""
        import torch

        for loss, multilabel in self.losses():
            for n, n_classes in ((1, 2), (7, 5)):
                logits_BC, targets_BC = examples(n, n_classes, multilabel)
                for given in (logits_BC, 1e4 * targets_BC, -1e4 * targets_BC, torch.zeros(n, n_classes)):
                    value, gradient = gradient_of(
                        lambda x, t=targets_BC, loss=loss: loss(x, t, torch.ones(len(x))), given
                    )
                    assert value.ndim == 0
                    assert value.dtype == torch.float32
                    assert torch.isfinite(value)
                    assert torch.isfinite(gradient).all()

    def test_it_teaches(self) -> None:
        """What is right costs less than what is wrong, and a step against the gradient costs less than none."""
        import torch

        for loss, multilabel in self.losses():
            logits_BC, targets_BC = examples(7, 5, multilabel)
            ones_B, right_BC = torch.ones(7), 6 * (targets_BC - 0.5)
            assert loss(right_BC, targets_BC, ones_B) < loss(-right_BC, targets_BC, ones_B)
            value, gradient_BC = gradient_of(
                lambda x, t=targets_BC, loss=loss: loss(x, t, torch.ones(7)), logits_BC
            )
            assert loss(logits_BC - 0.1 * gradient_BC, targets_BC, ones_B) < value

    def test_weights_weigh_the_texts(self) -> None:
        """Noise-aware training: the weighted sum over the texts, divided by their number."""
        import torch

        for loss, multilabel in self.losses():
            logits_BC, targets_BC = examples(5, 4, multilabel)
            weights_B = torch.tensor([0.5, 3.0, 1.0, 0.0, 2.0])
            rows, one = [slice(i, i + 1) for i in range(5)], torch.ones(1)
            each_B = torch.stack([loss(logits_BC[r], targets_BC[r], one) for r in rows])
            found = loss(logits_BC, targets_BC, weights_B)
            torch.testing.assert_close(found, (weights_B * each_B).sum() / 5, rtol=1e-4, atol=1e-6)

    def test_a_weight_of_zero_leaves_a_text_out(self) -> None:
        """Whatever it is: neither value nor gradient see it."""
        import torch

        weights_B = torch.tensor([1.0, 0.0, 1.0])
        for loss, multilabel in self.losses():
            logits_BC, targets_BC = examples(3, 4, multilabel)
            spoilt_BC = logits_BC.clone()
            spoilt_BC[1] = torch.tensor([50.0, -50.0, 3.0, 0.0])
            value, gradient_BC = gradient_of(
                lambda x, t=targets_BC, loss=loss: loss(x, t, weights_B), spoilt_BC
            )
            torch.testing.assert_close(value, loss(logits_BC, targets_BC, weights_B))
            assert not gradient_BC[1].any()
            assert float(loss(logits_BC, targets_BC, torch.zeros(3))) == 0

    def test_soft_targets_are_taken_as_they_are(self) -> None:
        """A teacher's probabilities are not rounded to a label: the loss is another than that of either."""
        import torch

        for loss, _ in self.losses():
            logits_BC, one_B = torch.tensor([[2.0, -1.0]]), torch.ones(1)
            values = [float(loss(logits_BC, torch.tensor([[t, 1 - t]]), one_B)) for t in (1.0, 0.6, 0.0)]
            assert len({round(value, 4) for value in values}) == 3, values

    def test_several_classes_are_judged_each_for_itself(self) -> None:
        """With `multilabel` a class that applies is pulled up, whatever the others do."""
        import torch

        for loss, multilabel in self.losses():
            if multilabel:
                targets_BC = torch.tensor([[1.0, 1.0, 0.0]])
                _, gradient_BC = gradient_of(
                    lambda x, t=targets_BC, loss=loss: loss(x, t, torch.ones(1)), torch.zeros(1, 3)
                )
                assert (gradient_BC[0, :2] < 0).all()
                assert gradient_BC[0, 2] > 0
                torch.testing.assert_close(gradient_BC[0, 0], gradient_BC[0, 1])
                high = torch.tensor([[3.0, 3.0, 3.0]])
                assert loss(high, torch.ones(1, 3), torch.ones(1)) < loss(
                    -high, torch.ones(1, 3), torch.ones(1)
                )

    def test_the_same_twice_and_of_another_instance(self) -> None:
        """A resumed run has a new instance; a loss remembers nothing, and changes nothing that it is given."""
        import torch

        for (loss, multilabel), (again, _) in zip(self.losses(), self.losses(), strict=True):
            logits_BC, targets_BC = examples(6, 4, multilabel)
            weights_B = torch.linspace(0.1, 2, 6)
            given = (logits_BC, targets_BC, weights_B)
            kept = [x.clone() for x in given]
            first = loss(*given)
            loss(*examples(2, 4, multilabel), torch.ones(2))
            assert torch.equal(first, loss(*given))
            assert torch.equal(first, again(*given))
            assert all(torch.equal(x, y) for x, y in zip(given, kept, strict=True))


def batch(n: int, n_labels: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return cosines [B, G] and which labels are right, always the same; document i's own is `first + i`."""
    import torch

    random = torch.Generator().manual_seed(7)
    scores_BG = 2 * torch.rand(n, n_labels, generator=random) - 1
    positive_BG = torch.rand(n, n_labels, generator=random) < 0.2
    positive_BG[torch.arange(n), first + torch.arange(n)] = True
    return scores_BG, positive_BG


def examples(n: int, n_classes: int, multilabel: bool) -> tuple[Tensor, Tensor]:
    """Return logits and targets [B, C], always the same; one class a text, or any number."""
    import torch

    random = torch.Generator().manual_seed(7)
    logits_BC = torch.randn(n, n_classes, generator=random)
    if multilabel:
        return logits_BC, (torch.rand(n, n_classes, generator=random) < 0.4).float()
    return logits_BC, torch.eye(n_classes)[torch.arange(n) % n_classes]


def gradient_of(loss: Any, given: Tensor) -> tuple[Tensor, Tensor]:
    """Return a loss and its gradient with respect to what it is given."""
    x = given.detach().clone().requires_grad_()
    value = loss(x)
    value.backward()
    assert x.grad is not None, "no gradient reaches what the student said"
    return value.detach(), x.grad
