"""How long a teacher would take: its model's floating-point operations over the rate of this machine."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from lmteach.errors import LmteachError
from lmteach.teaching.planning import TeacherPart, with_small_files
from lmteach.teaching.protocol import TeacherResources

SHARE_OF_PEAK = 0.5  # of a machine's matmul rate that scoring reaches: .4 to .8 where measured


@dataclass(frozen=True)
class SpeedEstimate:
    """Seconds of one prompt token; `how` says where the number comes from."""

    seconds_a_token: float
    how: str


def estimate_speed(
    part: TeacherPart, resources: TeacherResources, machine_flops: float | None = None
) -> SpeedEstimate | None:
    """Return the seconds of a token from the model's floating-point operations and the machine's rate.

    None where the model's are not to be known.

    Args:
        part: the teacher.
        resources: what it is built with.
        machine_flops: operations a second of the machine it will run on; None = this one is measured.
    """
    if not part.runs_here:
        return None
    try:
        flops = float(part.cls(with_small_files(part.config), resources).flops_per_token())
        source = "the model's sizes"
    except LmteachError:
        named = flops_by_name(str(getattr(part.config, "model", "")))
        if named is None:
            return None
        flops, source = named, "the size in the model's name"
    whose = "of the machine"
    rate = machine_flops
    if rate is None:
        config = part.config
        rate, device = matmul_rate(getattr(config, "device", "auto"), getattr(config, "precision", "auto"))
        whose = f"that this machine's {device} reaches now"
    how = (
        f"{flops / 1e9:.2g} GFLOP a token by {source}, at {SHARE_OF_PEAK:.0%} of the "
        f"{rate / 1e12:.3g} TFLOP/s {whose}"
    )
    return SpeedEstimate(flops / (rate * SHARE_OF_PEAK), how)


def flops_by_name(model: str) -> float | None:
    """Return two operations a parameter, where a name tells how many there are: `13B`, `1.5b`, `135M`.

    >>> flops_by_name("WizardLM/WizardLM-13B-V1.2")
    26000000000.0
    """
    found = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", model.lower())
    if not found:
        return None
    size, unit = found[-1]
    return 2.0 * float(size) * {"b": 1e9, "m": 1e6}[unit]


def matmul_rate(device: str = "auto", precision: str = "auto", seconds: float = 0.3) -> tuple[float, str]:
    """Return the floating-point operations a second of matrix products, measured now, and on what.

    Args:
        device: what torch calls it, or `auto`.
        precision: `fp32`, `bf16` or `auto`, as the teacher would choose.
        seconds: how long it is measured.
    """
    import torch

    from lmteach.machine import choose_precision, device_name

    place = device_name(device)
    number: Any = choose_precision(precision, place)  # type: ignore[arg-type]
    dtype = torch.bfloat16 if number == "bf16" else torch.float32
    a = torch.ones(1024, 1024, dtype=dtype, device=place)
    done, started = 0, 0.0
    with torch.inference_mode():
        for lap in range(1_000_000):
            if lap == 3:  # what comes first pays for set-up
                _synchronise(place)
                done, started = 0, time.perf_counter()
            a @ a
            done += 1
            if lap >= 8 and lap % 8 == 0:
                _synchronise(place)
                if time.perf_counter() - started > seconds:
                    break
    return done * 2.0 * 1024**3 / (time.perf_counter() - started), f"{place} in {number}"


def _synchronise(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
