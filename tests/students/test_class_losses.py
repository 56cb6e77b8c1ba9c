"""Classifier losses against values worked out by hand and against their known limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from lmteach.errors import RecipeError
from lmteach.students.class_losses import build_loss


@dataclass
class Keys:
    loss: str = "ce"
    q: float = 0.7
    alpha: float = 0.1
    beta: float = 1.0
    smoothing: float = 0.0


def value(
    logits: list[list[float]], targets: list[list[float]], *, multilabel: bool = False, **keys: object
) -> float:
    loss = build_loss(Keys(**keys), multilabel=multilabel)  # type: ignore[arg-type]
    weights = torch.ones(len(logits))
    return float(loss(torch.tensor(logits), torch.tensor(targets), weights))


def logits_of(*p: float) -> list[float]:
    return [math.log(x) for x in p]


def test_cross_entropy_by_hand_with_soft_targets() -> None:
    found = value([logits_of(0.8, 0.2)], [[0.75, 0.25]])
    assert found == pytest.approx(-(0.75 * math.log(0.8) + 0.25 * math.log(0.2)))


def test_cross_entropy_is_torchs() -> None:
    logits, targets = torch.randn(7, 5), torch.randn(7, 5).softmax(-1)
    found = build_loss(Keys(), multilabel=False)(logits, targets, torch.ones(7))
    torch.testing.assert_close(found, F.cross_entropy(logits, targets))


def test_several_labels_are_torchs_binary_cross_entropy() -> None:
    logits, targets = (
        30 * torch.randn(7, 5),
        torch.rand(7, 5),
    )  # sharp enough that log(sigmoid) would overflow
    found = build_loss(Keys(), multilabel=True)(logits, targets, torch.ones(7))
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, targets))


def test_gce_by_hand() -> None:
    found = value([logits_of(0.8, 0.2)], [[0.0, 1.0]], loss="gce", q=0.5)
    assert found == pytest.approx((1 - math.sqrt(0.2)) / 0.5)


@pytest.mark.parametrize("multilabel", [False, True])
def test_gce_tends_to_cross_entropy_as_q_falls(multilabel: bool) -> None:
    logits, targets = [[0.3, -2.0, 1.0], [4.0, 0.0, 0.0]], [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]
    plain = value(logits, targets, multilabel=multilabel)
    off = [
        abs(value(logits, targets, multilabel=multilabel, loss="gce", q=q) - plain) for q in (0.5, 0.05, 1e-3)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.01


def test_gce_at_one_is_the_mean_absolute_error() -> None:
    found = value([logits_of(0.7, 0.2, 0.1)], [[0.0, 1.0, 0.0]], loss="gce", q=1.0)
    assert found == pytest.approx((0.7 + 0.8 + 0.1) / 2)  # half the absolute distance to the one-hot target


def test_the_mean_absolute_error_is_blind_to_symmetric_noise() -> None:
    """Summed over all labels it is a constant, whatever the model says: what makes gce robust; ce is not."""
    for logits in ([2.0, -1.0, 0.5], [0.0, 0.0, 9.0]):
        over_labels = [value([logits], [row], loss="gce", q=1.0) for row in torch.eye(3).tolist()]
        assert sum(over_labels) == pytest.approx(2.0)


def test_sce_by_hand() -> None:
    p = 0.2
    found = value([logits_of(0.8, p)], [[0.0, 1.0]], loss="sce", alpha=0.1, beta=1.0)
    assert found == pytest.approx(-0.1 * math.log(p) + 4 * (1 - p))


def test_sce_without_beta_is_scaled_cross_entropy() -> None:
    logits, targets = [[0.3, -2.0, 1.0]], [[0.2, 0.3, 0.5]]
    found = value(logits, targets, loss="sce", alpha=0.5, beta=0.0)
    assert found == pytest.approx(0.5 * value(logits, targets))


def test_smoothing_mixes_in_the_uniform() -> None:
    smoothed = value([logits_of(0.8, 0.2)], [[1.0, 0.0]], smoothing=0.2)
    assert smoothed == pytest.approx(value([logits_of(0.8, 0.2)], [[0.9, 0.1]]))


@pytest.mark.parametrize("name", ["ce", "gce", "sce"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_weights_weigh_examples(name: str, multilabel: bool) -> None:
    loss = build_loss(Keys(loss=name), multilabel=multilabel)
    logits, targets = torch.tensor([[1.0, -1.0], [0.3, 0.1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    each = [loss(logits[i : i + 1], targets[i : i + 1], torch.ones(1)) for i in range(2)]
    found = loss(logits, targets, torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(found, (0.5 * each[0] + 3 * each[1]) / 2)
    assert float(loss(logits, targets, torch.zeros(2))) == 0


@pytest.mark.parametrize("name", ["ce", "gce", "sce"])
def test_gradients_are_finite_where_the_model_is_sure_and_wrong(name: str) -> None:
    logits = torch.tensor([[-80.0, 80.0]], requires_grad=True)
    build_loss(Keys(loss=name), multilabel=False)(
        logits, torch.tensor([[1.0, 0.0]]), torch.ones(1)
    ).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_wrong_label_pulls_less_under_gce() -> None:
    """The point of it: where the model is sure, a contradicting label has less weight than under ce."""

    def pull(name: str) -> float:
        logits = torch.tensor([[6.0, 0.0]], requires_grad=True)
        build_loss(Keys(loss=name), multilabel=False)(
            logits, torch.tensor([[0.0, 1.0]]), torch.ones(1)
        ).backward()
        assert logits.grad is not None
        return float(logits.grad.abs().max())

    assert pull("gce") < 0.1 * pull("ce")


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"loss": "gc"}, "noise.loss"),
        ({"loss": "gce", "q": 0.0}, "noise.q"),
        ({"smoothing": 1.0}, "noise.smoothing"),
        ({"loss": "sce", "alpha": 0.0, "beta": 0.0}, "noise.alpha"),
    ],
)
def test_values_that_make_no_sense_are_refused(keys: dict[str, object], where: str) -> None:
    with pytest.raises(RecipeError) as error:
        build_loss(Keys(**keys), multilabel=False)  # type: ignore[arg-type]
    assert where in str(error.value)
