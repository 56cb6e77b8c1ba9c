"""The triplet losses: the oracle figures, the guards, the gradient, and a reference in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import registry
from lmteach.errors import RecipeError

S = torch.tensor(
    [[0.8, 0.6, 0.1, 0.4], [0.2, 0.7, 0.65, 0.3], [0.5, 0.5, 0.6, 0.1], [0.3, 0.2, 0.1, 0.9]],
    dtype=torch.float64,
)
Y = torch.eye(4, dtype=torch.bool)
Y[0, 3] = True
ORACLE: dict[str, Any] = {"margin": 0.3, "n_negatives": 2}


def triplet_loss(
    scores: torch.Tensor,
    positive: torch.Tensor,
    *,
    temperature: float | None = None,
    margin: float = 0.3,
    n_negatives: int = 10,
) -> torch.Tensor:
    """The plugin that has no temperature, or the one that has."""
    section: dict[str, Any] = {"name": "triplet", "margin": margin, "n_negatives": n_negatives}
    if temperature is not None:
        section |= {"name": "weighted_triplet", "temperature": temperature}
    loss: torch.Tensor = registry.build("loss", section)(scores, positive)
    return loss


def reference(
    scores: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    margin: float,
    k: int,
    temperature: float | None,
) -> float:
    """The loss as the paper writes it, one document and one negative at a time."""
    total = 0.0
    for i, row in enumerate(scores):
        negatives = sorted((s for s, yes in zip(row, positive[i], strict=True) if not yes), reverse=True)[:k]
        if not negatives:
            continue
        violations = [max(0.0, s - row[i] + margin) for s in negatives]
        weights = [1.0] * len(negatives)
        if temperature is not None:
            logits = [s / temperature if v > 0 else 0.0 for s, v in zip(negatives, violations, strict=True)]
            exponents = [np.exp(logit - max(logits)) for logit in logits]
            weights = [e / sum(exponents) for e in exponents]
        total += sum(w * v for w, v in zip(weights, violations, strict=True)) / len(negatives)
    return total / len(scores)


def test_the_plain_oracle_figure() -> None:
    assert triplet_loss(S, Y, **ORACLE).item() == pytest.approx(0.09375, abs=1e-12)


def test_the_weighted_oracle_figure() -> None:
    assert triplet_loss(S, Y, temperature=0.1, **ORACLE).item() == pytest.approx(0.0686721803, abs=5e-11)


def test_a_false_negative_costs_nothing() -> None:
    """S[0, 3] is in document 0's yes set: however near it is, it is no negative."""
    near = S.clone()
    near[0, 3] = 0.99
    for temperature in (None, 0.1):
        masked = triplet_loss(near, Y, temperature=temperature, **ORACLE)
        assert masked == triplet_loss(S, Y, temperature=temperature, **ORACLE)
        assert triplet_loss(near, torch.eye(4, dtype=torch.bool), temperature=temperature, **ORACLE) > masked


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_with_fewer_negatives_than_asked_for_no_positive_is_used(temperature: float | None) -> None:
    """PAPERS: the authors' code takes positives as negatives there."""
    scores = torch.tensor([[0.5, 0.9, 0.45], [0.1, 0.5, 0.2], [0.1, 0.2, 0.5]], dtype=torch.float64)
    positive = torch.eye(3, dtype=torch.bool)
    positive[0, 1] = True  # so document 0 has the one negative 0.45, and the others two
    loss = triplet_loss(scores, positive, margin=0.3, n_negatives=10, temperature=temperature)
    assert loss.item() == pytest.approx(reference(scores.numpy(), positive.numpy(), 0.3, 10, temperature))
    only_first = triplet_loss(scores[:1], positive[:1], margin=0.3, n_negatives=10, temperature=temperature)
    assert only_first.item() == pytest.approx(0.25)


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_a_document_without_any_negative_adds_nothing(temperature: float | None) -> None:
    scores = S.clone().requires_grad_()
    everything = torch.ones(4, 4, dtype=torch.bool)
    loss = triplet_loss(scores, everything, temperature=temperature, **ORACLE)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros_like(S))
    one = Y.clone()
    one[1] = True
    expected = reference(S.numpy(), one.numpy(), 0.3, 2, temperature)
    assert triplet_loss(S, one, temperature=temperature, **ORACLE).item() == pytest.approx(expected)


def test_no_violator_no_loss() -> None:
    scores = torch.eye(3) * 0.9
    for temperature in (None, 0.1):
        assert triplet_loss(scores, torch.eye(3, dtype=torch.bool), temperature=temperature).item() == 0


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_gradients_are_those_of_small_steps(temperature: float | None) -> None:
    """The weights are part of the graph, as in the authors' code."""
    random = torch.Generator().manual_seed(3)
    scores = (torch.rand(5, 5, generator=random, dtype=torch.float64) * 2 - 1).requires_grad_()
    positive = torch.eye(5, dtype=torch.bool)
    positive[2, 4] = True

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return triplet_loss(scores, positive, margin=0.3, n_negatives=3, temperature=temperature)

    assert torch.autograd.gradcheck(loss, (scores,), eps=1e-7, atol=1e-6)


def test_only_violators_and_the_positive_are_pushed() -> None:
    scores = S.clone().requires_grad_()
    triplet_loss(scores, Y, temperature=None, **ORACLE).backward()
    gradient = scores.grad
    assert gradient is not None
    assert gradient[0, 1] > 0, "a violator is pushed away"
    assert gradient[0, 0] < 0, "the positive is pulled near"
    assert gradient[0, 3] == 0, "a label of the yes set is left alone"
    assert gradient[3, 0] == 0, "0.3 is farther from 0.9 than the margin"


cosines = st.floats(-1, 1, allow_subnormal=False)


@st.composite
def batches(draw: st.DrawFn) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    n = draw(st.integers(1, 7))
    scores = draw(st.lists(cosines, min_size=n * n, max_size=n * n))
    positive = draw(st.lists(st.booleans(), min_size=n * n, max_size=n * n))
    return np.array(scores).reshape(n, n), np.array(positive).reshape(n, n) | np.eye(n, dtype=bool)


@settings(max_examples=200, deadline=None)
@given(
    batch=batches(),
    margin=st.floats(0, 1),
    k=st.integers(1, 9),
    temperature=st.none() | st.floats(0.01, 2),
)
def test_the_loss_is_that_of_a_plain_reference(
    batch: tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]],
    margin: float,
    k: int,
    temperature: float | None,
) -> None:
    scores, positive = batch
    found = triplet_loss(
        torch.from_numpy(scores),
        torch.from_numpy(positive),
        margin=margin,
        n_negatives=k,
        temperature=temperature,
    ).item()
    assert found == pytest.approx(reference(scores, positive, margin, k, temperature), rel=1e-9, abs=1e-12)
    assert found >= 0


def test_half_precision_stays_finite() -> None:
    """A masked score is the least number of its type, not minus infinity: no NaN comes of it."""
    for dtype in (torch.float16, torch.bfloat16):
        scores = S.to(dtype).requires_grad_()
        loss = triplet_loss(scores, torch.ones(4, 4, dtype=torch.bool), temperature=0.1)
        loss.backward()
        assert torch.isfinite(loss)
        assert scores.grad is not None
        assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"name": "triplet", "n_negatives": 0}, "loss.n_negatives: It is 0"),
        ({"name": "weighted_triplet", "n_negatives": -1}, "loss.n_negatives: It is -1"),
        ({"name": "triplet", "margin": float("nan")}, "loss.margin: It is nan"),
        ({"name": "weighted_triplet", "temperature": 0.0}, "loss.temperature: It is 0.0"),
        ({"name": "weighted_triplet", "temperature": float("nan")}, "loss.temperature: It is nan"),
    ],
)
def test_values_that_make_no_sense_are_refused(keys: dict[str, Any], where: str) -> None:
    with pytest.raises(RecipeError, match=where):
        registry.build("loss", keys)
