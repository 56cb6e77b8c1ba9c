"""AdamW under linear warm-up and decay."""

from __future__ import annotations

import pytest
import torch

from lmteach.students.optim import adamw_linear


def rates(n_steps: int, warmup_steps: int, lr: float = 1.0) -> list[float]:
    """Return the learning rate of each step, and the one after the last."""
    made = adamw_linear(
        [torch.nn.Parameter(torch.ones(1))], lr=lr, n_steps=n_steps, warmup_steps=warmup_steps
    )
    assert made["lr_scheduler"]["interval"] == "step"
    found = []
    for _ in range(n_steps + 1):
        found.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return found


def test_the_rate_rises_to_lr_and_falls_to_zero() -> None:
    assert rates(10, 4, lr=2.0) == pytest.approx([0, 0.5, 1, 1.5, 2, 5 / 3, 4 / 3, 1, 2 / 3, 1 / 3, 0])


def test_without_warm_up_it_starts_at_lr() -> None:
    assert rates(4, 0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_a_warm_up_as_long_as_the_run_never_decays_below_zero() -> None:
    assert rates(3, 3) == pytest.approx([0, 1 / 3, 2 / 3, 0])
    assert rates(3, 10) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_the_optimiser_is_told_everything() -> None:
    made = adamw_linear(
        [torch.nn.Parameter(torch.ones(1))], lr=0.1, n_steps=5, eps=1e-3, weight_decay=0.25, warmup_steps=0
    )
    optimizer = made["optimizer"]
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (optimizer.defaults["eps"], optimizer.defaults["weight_decay"]) == (1e-3, 0.25)


def test_the_quick_form_steps_alike() -> None:
    def trained(fused: bool) -> torch.Tensor:
        torch.manual_seed(4)
        weight = torch.nn.Parameter(torch.randn(50, 7))
        made = adamw_linear([weight], lr=0.01, n_steps=20, weight_decay=0.1, fused=fused)
        assert bool(made["optimizer"].defaults["fused"]) is fused
        for _ in range(20):
            made["optimizer"].zero_grad()
            (weight**2).sum().backward()
            made["optimizer"].step()
            made["lr_scheduler"]["scheduler"].step()
        return weight.detach()

    torch.testing.assert_close(trained(True), trained(False), rtol=1e-5, atol=1e-6)


def test_it_takes_an_iterator() -> None:
    module = torch.nn.Linear(2, 2)
    made = adamw_linear(module.parameters(), lr=0.1, n_steps=5)
    assert len(made["optimizer"].param_groups[0]["params"]) == 2
