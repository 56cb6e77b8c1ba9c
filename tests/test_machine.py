"""What this machine is good at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lmteach import machine
from lmteach.errors import RecipeError


def test_a_device_is_one_that_torch_can_use() -> None:
    for name in ("auto", "cpu"):
        assert torch.empty(1, device=machine.device_name(name)).numel() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:3"])
def test_a_gpu_that_is_not_there(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"trainer\.accelerator: The accelerator '{name}'") as caught:
        machine.device_name(name)
    assert "trainer.accelerator=auto" in str(caught.value)


@pytest.mark.parametrize("name", ["banana", "tpu", ""])
def test_a_device_that_nobody_knows(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        machine.device_name(name)
    assert len(str(caught.value)) < 400, "torch's list of operators is no help"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_is_taken_where_there_is_one() -> None:
    assert machine.device_name("auto") == machine.device_name("gpu") == "cuda"


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("flags : fpu avx512f avx512_bf16 sse", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("flags : fpu avx2 avx512f", False),
        ("flags : fpu avx512_bf16x", False),
    ],
)
def test_bf16_is_fast_where_the_processor_says_so(
    flags: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")
    machine.has_fast_bf16.cache_clear()
    try:
        assert machine.has_fast_bf16("cpu") is fast
        assert machine.choose_precision("auto", "cpu") == ("bf16" if fast else "fp32")
        assert machine.choose_precision("fp32", "cpu") == "fp32"
        assert machine.choose_precision("bf16", "cpu") == "bf16"
    finally:
        machine.has_fast_bf16.cache_clear()


def test_bf16_is_not_fast_on_other_devices() -> None:
    assert machine.has_fast_bf16("mps") is False


SHAPES = """
import resource, torch
from lmteach.machine import choose_precision
choose_precision("bf16", "cpu")
weight = torch.ones(64, 32, dtype=torch.bfloat16)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
torch.ones(700, 32, dtype=torch.bfloat16) @ weight.T
before = peak()
for n in range(2, 700):
    torch.ones(n, 32, dtype=torch.bfloat16) @ weight.T
print(peak() - before)
"""


@pytest.mark.skipif(not machine.has_fast_bf16("cpu"), reason="this machine multiplies bf16 by other means")
def test_what_was_compiled_for_batches_of_every_shape_is_let_go() -> None:
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250, "megabytes; 450 without a bound"
