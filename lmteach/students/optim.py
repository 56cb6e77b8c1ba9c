"""The optimiser and its schedule: AdamW, linear warm-up, then linear decay to zero or a constant rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.nn import Parameter


def adamw_linear(
    parameters: Iterable[Parameter],
    *,
    lr: float,
    n_steps: int,
    warmup_steps: int = 0,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    schedule: str = "linear",
    fused: bool = True,
) -> dict[str, Any]:
    """Return Lightning's optimiser dictionary for `n_steps` steps (LMTX, section 4).

    A warm-up longer than the run never reaches `lr`; the run says so.

    Args:
        schedule: after the warm-up, `linear` decay to zero or `constant`.
        fused: one pass over the weights instead of a dozen, where the device has it: measured on 2 CPU cores
            with 22M weights, 0.03 s a step instead of 1.1 s. Lightning cannot clip gradients with it in bf16.
    """
    chosen = list(parameters)
    fused = fused and all(p.device.type in ("cpu", "cuda") for p in chosen)
    optimizer = torch.optim.AdamW(chosen, lr=lr, eps=eps, weight_decay=weight_decay, fused=fused)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        if schedule == "constant":
            return 1.0
        return max(0.0, (n_steps - step) / max(1, n_steps - warmup_steps))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
