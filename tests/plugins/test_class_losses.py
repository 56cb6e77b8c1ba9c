"""Classifier losses against values worked out by hand and against their known limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lmteach import registry
from lmteach.errors import RecipeError


def build(name: str = "ce", *, multilabel: bool = False, **keys: Any) -> Any:
    return registry.build("loss", {"name": name, **keys}, multilabel)


def value(
    logits: list[list[float]], targets: list[list[float]], *, multilabel: bool = False, **keys: Any
) -> float:
    loss = build(**keys, multilabel=multilabel)
    weights = torch.ones(len(logits))
    return float(loss(torch.tensor(logits), torch.tensor(targets), weights))


def logits_of(*p: float) -> list[float]:
    return [math.log(x) for x in p]


def test_cross_entropy_by_hand_with_soft_targets() -> None:
    found = value([logits_of(0.8, 0.2)], [[0.75, 0.25]])
    assert found == pytest.approx(-(0.75 * math.log(0.8) + 0.25 * math.log(0.2)))


def test_cross_entropy_is_torchs() -> None:
    logits, targets = torch.randn(7, 5), torch.randn(7, 5).softmax(-1)
    found = build()(logits, targets, torch.ones(7))
    torch.testing.assert_close(found, F.cross_entropy(logits, targets))


def test_several_labels_are_torchs_binary_cross_entropy() -> None:
    logits, targets = (
        30 * torch.randn(7, 5),
        torch.rand(7, 5),
    )  # sharp enough that log(sigmoid) would overflow
    found = build(multilabel=True)(logits, targets, torch.ones(7))
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, targets))


def test_a_double_softmax_takes_probabilities_for_logits() -> None:
    """As the LLMEmbed authors' code does; the loss cannot fall below log(1 + (C - 1)/e)."""
    logits, targets = torch.randn(7, 5), torch.eye(5)[[0, 1, 2, 3, 4, 0, 1]]
    doubled = build(double_softmax=True)
    found = doubled(logits, targets, torch.ones(7))
    torch.testing.assert_close(found, F.cross_entropy(logits.softmax(1), targets))
    sure = doubled(1e4 * targets, targets, torch.ones(7))
    assert float(sure) == pytest.approx(math.log(1 + 4 / math.e))


def test_gce_by_hand() -> None:
    found = value([logits_of(0.8, 0.2)], [[0.0, 1.0]], name="gce", q=0.5)
    assert found == pytest.approx((1 - math.sqrt(0.2)) / 0.5)


@pytest.mark.parametrize("multilabel", [False, True])
def test_gce_tends_to_cross_entropy_as_q_falls(multilabel: bool) -> None:
    logits, targets = [[0.3, -2.0, 1.0], [4.0, 0.0, 0.0]], [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]
    plain = value(logits, targets, multilabel=multilabel)
    off = [
        abs(value(logits, targets, multilabel=multilabel, name="gce", q=q) - plain) for q in (0.5, 0.05, 1e-3)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.01


def test_gce_at_one_is_the_mean_absolute_error() -> None:
    found = value([logits_of(0.7, 0.2, 0.1)], [[0.0, 1.0, 0.0]], name="gce", q=1.0)
    assert found == pytest.approx((0.7 + 0.8 + 0.1) / 2)  # half the absolute distance to the one-hot target


def test_the_mean_absolute_error_is_blind_to_symmetric_noise() -> None:
    """Summed over all labels it is a constant, whatever the model says: what makes gce robust; ce is not."""
    for logits in ([2.0, -1.0, 0.5], [0.0, 0.0, 9.0]):
        over_labels = [value([logits], [row], name="gce", q=1.0) for row in torch.eye(3).tolist()]
        assert sum(over_labels) == pytest.approx(2.0)


def test_sce_by_hand() -> None:
    p = 0.2
    found = value([logits_of(0.8, p)], [[0.0, 1.0]], name="sce", alpha=0.1, beta=1.0)
    assert found == pytest.approx(-0.1 * math.log(p) + 4 * (1 - p))


def test_sce_without_beta_is_scaled_cross_entropy() -> None:
    logits, targets = [[0.3, -2.0, 1.0]], [[0.2, 0.3, 0.5]]
    found = value(logits, targets, name="sce", alpha=0.5, beta=0.0)
    assert found == pytest.approx(0.5 * value(logits, targets))


def test_smoothing_mixes_in_the_uniform() -> None:
    smoothed = value([logits_of(0.8, 0.2)], [[1.0, 0.0]], smoothing=0.2)
    assert smoothed == pytest.approx(value([logits_of(0.8, 0.2)], [[0.9, 0.1]]))


@pytest.mark.parametrize("name", ["ce", "gce", "sce"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_weights_weigh_examples(name: str, multilabel: bool) -> None:
    loss = build(name, multilabel=multilabel)
    logits, targets = torch.tensor([[1.0, -1.0], [0.3, 0.1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    each = [loss(logits[i : i + 1], targets[i : i + 1], torch.ones(1)) for i in range(2)]
    found = loss(logits, targets, torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(found, (0.5 * each[0] + 3 * each[1]) / 2)
    assert float(loss(logits, targets, torch.zeros(2))) == 0


@pytest.mark.parametrize("name", ["ce", "gce", "sce"])
def test_gradients_are_finite_where_the_model_is_sure_and_wrong(name: str) -> None:
    logits = torch.tensor([[-80.0, 80.0]], requires_grad=True)
    build(name)(logits, torch.tensor([[1.0, 0.0]]), torch.ones(1)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_wrong_label_pulls_less_under_gce() -> None:
    """The point of it: where the model is sure, a contradicting label has less weight than under ce."""

    def pull(name: str) -> float:
        logits = torch.tensor([[6.0, 0.0]], requires_grad=True)
        build(name)(logits, torch.tensor([[0.0, 1.0]]), torch.ones(1)).backward()
        assert logits.grad is not None
        return float(logits.grad.abs().max())

    assert pull("gce") < 0.1 * pull("ce")


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"name": "gce", "q": math.nan}, "loss.q"),
        ({"name": "gce", "q": 0.0}, "loss.q"),
        ({"name": "ce", "smoothing": 1.0}, "loss.smoothing"),
        ({"name": "gce", "smoothing": -0.1}, "loss.smoothing"),
        ({"name": "sce", "smoothing": 1.0}, "loss.smoothing"),
        ({"name": "sce", "alpha": 0.0, "beta": 0.0}, "loss.alpha"),
        ({"name": "sce", "alpha": -1.0}, "loss.alpha"),
        ({"name": "ce", "double_softmax": True, "multilabel": True}, "loss.double_softmax"),
    ],
)
def test_values_that_make_no_sense_are_refused(keys: dict[str, Any], where: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(**keys)
    assert where in str(error.value)
