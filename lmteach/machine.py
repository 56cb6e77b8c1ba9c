"""What this machine is good at: its device, and whether bf16 is fast there."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

from lmteach.errors import RecipeError

Precision = Literal["auto", "fp32", "bf16"]


def device_name(wanted: str = "auto") -> str:
    """Return the torch device to compute on: `wanted`, or the best one present for `auto`.

    Lightning's `gpu` is torch's `cuda`.

    Raises:
        RecipeError: torch does not know the device, or it is not there.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    name = {"gpu": "cuda"}.get(wanted, wanted)
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition(". ")[0].partition(" device type")[0]  # torch goes on for pages
        raise RecipeError(
            f"The accelerator '{wanted}' is not to be had: {reason}.",
            where="trainer.accelerator",
            mend="Set trainer.accelerator=auto, or cpu.",
        ) from error
    return name


@cache
def has_fast_bf16(device: str) -> bool:
    """Return whether bf16 matrix products run at a higher rate than fp32 there."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device != "cpu":
        return False
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(wanted: Precision, device: str) -> Literal["fp32", "bf16"]:
    """Return `wanted`, or for `auto` the faster of the two on this device."""
    if wanted == "auto":
        wanted = "bf16" if has_fast_bf16(device) else "fp32"
    if wanted == "bf16" and device == "cpu":
        _keep_few_kernels()
    return wanted


def _keep_few_kernels() -> None:
    """Bound what oneDNN keeps of the bf16 products it compiled: half a megabyte for each shape of a batch.

    Its own bounds are 1024 shapes in each of several caches. Measured over batches of texts: a gigabyte of memory, and
    no time saved. Fewer than the layers of one batch need (two products for each length among 2,048 tokens, 130 at
    most) would have each of them compiled again for every layer: with 64, batches of unlike lengths took 1.75 times
    as long.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "160")
