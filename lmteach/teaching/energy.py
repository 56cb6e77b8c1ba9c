"""How much energy a machine has used: NVIDIA's counters on GPUs, RAPL's on Intel and AMD processors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

RAPL_FOLDER = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules used by all GPUs and processor packages that can be measured, by whatever ran on them.

    Build it by `EnergyMeter.find()`. Memory, disks and fans are not in it, nor a share for other programs.
    """

    def __init__(self, counters: list[Callable[[], float]]) -> None:
        self._counters = counters
        self._last = self._read()

    @classmethod
    def find(cls, rapl_folder: Path = RAPL_FOLDER) -> EnergyMeter | None:
        """Return a meter, or None on a machine where nothing can be measured."""
        counters = _gpu_counters() + _rapl_counters(rapl_folder)
        return cls(counters) if counters else None

    def lap(self) -> float:
        """Return the joules used since the last lap (or since the meter was built)."""
        now = self._read()
        used = sum(b - a for a, b in zip(self._last, now, strict=True))
        self._last = now
        return used

    def _read(self) -> list[float]:
        return [counter() for counter in self._counters]


def _gpu_counters() -> list[Callable[[], float]]:
    """Return a counter of joules for each GPU, straight from the library that NVIDIA's driver brings."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        n = ctypes.c_uint()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(n)):
            return []
    except (OSError, AttributeError):
        return []
    counters = []
    for i in range(n.value):
        device = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(device)) == 0:
            counter = _gpu_counter(nvml, device)
            if counter is not None:
                counters.append(counter)
    return counters


def _gpu_counter(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> Callable[[], float] | None:
    millijoules = ctypes.c_ulonglong()

    def read() -> float:
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules))
        return millijoules.value / 1000

    supported = nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)) == 0
    return read if supported else None


def _rapl_counters(folder: Path) -> list[Callable[[], float]]:
    """Return a counter of joules for each processor package that we may read (often root alone may)."""
    counters: list[Callable[[], float]] = []
    for package in sorted(folder.glob("intel-rapl:*")):
        if package.name.count(":") != 1:  # the parts of a package are in its sum
            continue
        try:
            counters.append(_rapl_counter(package))
        except (OSError, ValueError):
            continue
    return counters


def _rapl_counter(package: Path) -> Callable[[], float]:
    """Return a counter that goes on where the processor's, of some minutes, begins anew."""
    span = int((package / "max_energy_range_uj").read_text())
    last, total = int((package / "energy_uj").read_text()), 0

    def read() -> float:
        nonlocal last, total
        try:
            now = int((package / "energy_uj").read_text())
        except (OSError, ValueError):
            return total / 1e6
        total += now - last if now >= last else now - last + span
        last = now
        return total / 1e6

    return read
