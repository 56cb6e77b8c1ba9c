"""Built-in heads and losses keep their contracts; and each suite finds faults."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lmteach import registry
from lmteach.students.protocol import ClassLoss, Head, TaggerLoss
from lmteach.testing import ClassLossContract, HeadContract, LossContract, TaggerLossContract
from lmteach.testing.running import run_suite


class TestLinear(HeadContract):
    name = "linear"
    keys: ClassVar[dict[str, Any]] = {}

    def build(self, **keys: Any) -> Head:
        head: Head = registry.build("head", {"name": self.name, **self.keys, **keys})
        return head


class TestMlp(TestLinear):
    name = "mlp"


class TestMlpWithoutHiddenLayers(TestLinear):
    name = "mlp"
    keys: ClassVar[dict[str, Any]] = {"hidden": [], "dropout": 0.0}


class TestCe(ClassLossContract):
    name = "ce"
    keys: ClassVar[dict[str, Any]] = {}

    def build(self, *, multilabel: bool = False, **keys: Any) -> ClassLoss:
        loss: ClassLoss = registry.build("loss", {"name": self.name, **self.keys, **keys}, multilabel)
        return loss


class TestCeSmoothed(TestCe):
    keys: ClassVar[dict[str, Any]] = {"smoothing": 0.1}


class TestCeTwice(TestCe):
    keys: ClassVar[dict[str, Any]] = {"double_softmax": True}

    def test_of_several_classes_it_is_not_asked(self) -> None:
        assert [multilabel for _, multilabel in self.losses()] == [False]


class TestGce(TestCe):
    name = "gce"


class TestSce(TestCe):
    name = "sce"


class TestTriplet(TaggerLossContract):
    name = "triplet"

    def build(self, **keys: Any) -> TaggerLoss:
        loss: TaggerLoss = registry.build("loss", {"name": self.name, **keys})
        return loss


class TestWeightedTriplet(TestTriplet):
    name = "weighted_triplet"


def broken(suite: type[Any]) -> set[str]:
    """Return the names of the suite's tests that fail."""
    return {outcome.test for outcome in run_suite(suite) if outcome.fault}


HEAD_FAULTS: dict[str, str | None] = {
    "none": None,
    "transposed": "test_a_row_of_logits_a_text",
    "float64": "test_a_row_of_logits_a_text",
    "lonely": "test_a_text_in_training_may_be_alone",
    "unused": "test_every_trainable_weight_gets_a_gradient",
    "detached": "test_every_trainable_weight_gets_a_gradient",
    "still": "test_it_learns",
    "neighbours": "test_a_row_depends_on_its_text_alone",
    "noisy": "test_it_classifies_the_same_twice",
    "constant": "test_texts_are_told_apart",
    "unseeded": "test_the_seed_decides_the_first_weights",
    "shared": "test_two_modules_share_nothing",
    "overflow": "test_great_values_give_finite_logits",
    "unsaved": "test_a_saved_head_comes_back_the_same",
}


MADE = itertools.count()


class FaultyModule(nn.Module):
    def __init__(self, fault: str, in_dim: int, n_classes: int) -> None:
        super().__init__()
        self.fault, self.layer = fault, nn.Linear(in_dim, n_classes)
        self.norm = nn.BatchNorm1d(in_dim) if fault == "lonely" else nn.Identity()
        if fault == "unused":
            self.spare = nn.Linear(2, 2)
        if fault == "unsaved":  # weights that are not in its state
            self.hidden = torch.randn(n_classes)
        if fault == "unseeded":
            with torch.no_grad():
                self.layer.bias.fill_(next(MADE))
        if fault == "still":
            with torch.no_grad():
                self.layer.weight.zero_()

    def forward(self, x_BZ: Tensor) -> Tensor:
        fault = self.fault
        x_BZ = self.norm(x_BZ)
        logits: Tensor = self.layer(x_BZ.detach() if fault == "detached" else x_BZ)
        if fault == "transposed":
            return logits.T
        if fault == "still":
            return logits * 1e-6
        if fault == "neighbours":
            return logits - logits.mean(0)
        if fault == "noisy":
            return logits + torch.rand(logits.shape)
        if fault == "constant":
            return 0 * logits + self.layer.bias
        if fault == "overflow":
            return logits.exp()
        if fault == "unsaved":
            return logits + self.hidden
        return logits.double() if fault == "float64" else logits


@pytest.mark.parametrize(("fault", "caught_by"), HEAD_FAULTS.items())
def test_the_suite_of_heads_finds_faults(fault: str, caught_by: str | None) -> None:
    linear = registry.load("head", "linear")
    one = nn.Linear(12, 3)

    class Faulty(linear):  # type: ignore[misc, valid-type]
        def module(self, in_dim: int, n_classes: int) -> nn.Module:
            if fault == "shared" and (in_dim, n_classes) == (12, 3):
                return one
            return FaultyModule(fault, in_dim, n_classes)

    class Suite(HeadContract):
        def build(self, **keys: Any) -> Head:
            return Faulty(linear.Config(**keys))

    found = broken(Suite)
    assert (caught_by in found) if caught_by else not found, found


CLASS_FAULTS: dict[str, str | None] = {
    "none": None,
    "vector": "test_a_finite_scalar_with_finite_gradients",
    "log of 0": "test_a_finite_scalar_with_finite_gradients",
    "upside down": "test_it_teaches",
    "unweighted": "test_a_weight_of_zero_leaves_a_text_out",
    "by the sum of weights": "test_weights_weigh_the_texts",
    "weights of the texts only": "test_weights_weigh_the_texts",
    "hard": "test_soft_targets_are_taken_as_they_are",
    "softmax for several": "test_several_classes_are_judged_each_for_itself",
    "remembers": "test_the_same_twice_and_of_another_instance",
    "changes what it is given": "test_the_same_twice_and_of_another_instance",
}


class FaultyClassLoss:
    student_kind = "classifier"
    Config = registry.load("loss", "ce").Config

    def __init__(self, fault: str, multilabel: bool) -> None:
        self.fault, self.multilabel, self.n_calls = fault, multilabel, 0
        self.ce = registry.build("loss", {"name": "ce"}, multilabel and fault != "softmax for several")

    def __call__(self, logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor) -> Tensor:
        fault, self.n_calls = self.fault, self.n_calls + 1
        if fault == "vector":
            return logits_BC.mean(0)
        if fault == "log of 0":
            p_BC = logits_BC.sigmoid() if self.multilabel else logits_BC.softmax(1)
            return -(targets_BC * p_BC.log()).sum(1).mul(weights_B).mean()
        if fault == "unweighted":
            weights_B = torch.ones_like(weights_B)
        if fault == "hard":
            targets_BC = (targets_BC > 0.5).float()
        found: Tensor = self.ce(logits_BC, targets_BC, weights_B)
        if fault == "by the sum of weights":
            return found * len(weights_B) / weights_B.sum().clamp_min(1e-9)
        if fault == "weights of the texts only":
            return found * len(weights_B)
        if fault == "remembers":
            return found * self.n_calls
        if fault == "changes what it is given":
            weights_B.mul_(0.5)
        return -found if fault == "upside down" else found


@pytest.mark.parametrize(("fault", "caught_by"), CLASS_FAULTS.items())
def test_the_suite_of_classifier_losses_finds_faults(fault: str, caught_by: str | None) -> None:
    class Suite(ClassLossContract):
        def build(self, *, multilabel: bool = False, **keys: Any) -> ClassLoss:
            return FaultyClassLoss(fault, multilabel)

    found = broken(Suite)
    assert (caught_by in found) if caught_by else not found, found


TAGGER_FAULTS: dict[str, str | None] = {
    "none": None,
    "float64": "test_a_finite_scalar",
    "divides by 0": "test_a_finite_scalar",
    "upside down": "test_it_teaches",
    "yes labels as negatives": "test_a_right_label_is_not_pushed_away",
    "first is forgotten": "test_the_loss_of_a_batch_is_the_mean_of_its_documents",
    "sum": "test_the_loss_of_a_batch_is_the_mean_of_its_documents",
    "remembers": "test_the_same_twice_and_of_another_instance",
    "changes what it is given": "test_the_same_twice_and_of_another_instance",
}


class FaultyTaggerLoss:
    student_kind = "tagger"
    Config = registry.load("loss", "triplet").Config

    def __init__(self, fault: str) -> None:
        self.fault, self.n_calls = fault, 0
        self.triplet = registry.build("loss", {"name": "triplet", "margin": 1.5})

    def __call__(self, scores_BG: Tensor, positive_BG: Tensor, first: int = 0) -> Tensor:
        fault, self.n_calls = self.fault, self.n_calls + 1
        if fault == "yes labels as negatives":
            positive_BG = torch.zeros_like(positive_BG)
        if fault == "first is forgotten":
            first = 0
        if fault == "changes what it is given":
            positive_BG[0, -1] = True
        found: Tensor = self.triplet(scores_BG, positive_BG, first)
        if fault == "sum":
            return found * len(scores_BG)
        if fault == "divides by 0":
            return found / (~positive_BG).sum()
        if fault == "remembers":
            return found * self.n_calls
        if fault == "float64":
            return found.double()
        return -found if fault == "upside down" else found


@pytest.mark.parametrize(("fault", "caught_by"), TAGGER_FAULTS.items())
def test_the_suite_of_tagger_losses_finds_faults(fault: str, caught_by: str | None) -> None:
    class Suite(TaggerLossContract):
        def build(self, **keys: Any) -> TaggerLoss:
            return FaultyTaggerLoss(fault)

    found = broken(Suite)
    assert (caught_by in found) if caught_by else not found, found


def test_a_loss_that_does_not_say_whom_it_is_for_is_a_fault() -> None:
    class Nobodys(FaultyClassLoss):
        student_kind = "tager"

    class Suite(LossContract):
        def build(self, **keys: Any) -> Any:
            return Nobodys("none", False)

    assert "test_it_says_whom_it_is_for" in broken(Suite)
