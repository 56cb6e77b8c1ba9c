"""`lmteach serve` as a process of its own: what it answers, what it refuses, and that it follows its labels."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmteach import load_student

pytest.importorskip("fastapi")
TEXTS = ["A note on bread, oven, flour, dough, salt, moon.", "x", "A note on galaxy, comet, orbit, nebula."]


def test_it_answers_what_the_student_says(server, exported: Path) -> None:
    expected = load_student(exported).predict(TEXTS, 4, threshold="recall")
    status, answer = server.post("/predict", {"texts": TEXTS, "top_k": 4, "threshold": "recall"})
    assert status == 200
    for tags, found in zip(expected, answer["predictions"], strict=True):
        assert tuple(t["label"] for t in found["tags"]) == tags.labels
        assert [t["score"] for t in found["tags"]] == pytest.approx(tags.scores, abs=1e-5)
        assert [t["probability"] for t in found["tags"]] == pytest.approx(tags.probabilities, abs=1e-4)
    _, one = server.post("/predict", {"texts": TEXTS[:1]})
    assert len(one["predictions"][0]["tags"]) == 5, "top_k is 5 unless told"


def test_health_labels_and_meters(server, exported: Path) -> None:
    health = json.loads(server.get("/health")[1])
    assert (health["status"], health["kind"], health["n_labels"]) == ("ok", "tagger", 12)
    assert health["thresholds"] == load_student(exported).thresholds
    labels = json.loads(server.get("/labels?contains=AN&limit=1")[1])
    assert labels == {"n_labels": 1, "labels": ["desk anna"]}
    assert len(json.loads(server.get("/labels?offset=10")[1])["labels"]) == 2
    before = _meter(server, "lmteach_texts_total")
    server.post("/predict", {"texts": TEXTS})
    assert _meter(server, "lmteach_texts_total") == before + 3
    assert _meter(server, "lmteach_labels") == 12
    server.get("/no/such/place")
    assert "/no/such" not in server.get("/metrics")[1], "a stranger's paths must not become meters"


def _meter(server: Any, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", server.get("/metrics")[1], re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"texts": []}, 422),
        ({"texts": [""]}, 422),
        ({"texts": ["x"] * 51}, 422),
        ({"texts": "x"}, 422),
        ({"texts": ["x"], "top_k": 0}, 422),
        ({"texts": ["x"], "top_k": 101}, 422),
        ({"texts": ["x"], "top_k": True}, 422),
        ({"texts": ["x"], "top_k": 1.5}, 422),
        ({"texts": ["x"], "threshold": "f2"}, 422),
        ({"texts": ["x"], "threshold": 1.01}, 422),
        ({"texts": ["x"], "treshold": 0.5}, 422),
        ({"texts": ["x" * 20_001]}, 413),
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b'{"texts": ["\\ud800"]}', 422),
        (b'{"\\ud800": 1, "texts": ["x"]}', 422),
        (b'{"texts": ["x"], "threshold": NaN}', 422),
        (b"[" * 15_000, 400),
        (b"", 422),
    ],
)
def test_what_it_refuses_it_refuses_in_words(server, content: object, status: int) -> None:
    found, answer = server.post("/predict", content)
    assert found == status
    assert answer["detail"]
    assert server.get("/health")[0] == 200


def test_a_body_without_end_or_length_is_cut_off(server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        stream.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT011 - however the system words a closed connection
            _send_chunks(stream, 10_000)
    assert server.get("/health")[0] == 200


def _send_chunks(stream: socket.socket, n: int) -> None:
    for _ in range(n):
        stream.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        time.sleep(0.0005)


def test_a_token_is_asked_for(start, exported: Path) -> None:
    server = start(exported, env={"LMTEACH_TOKEN": "sesame"})
    for path in ("/labels", "/metrics"):
        assert server.get(path)[0] == 401
        assert server.get(path, {"Authorization": "Bearer wrong"})[0] == 401
        assert server.get(path, {"Authorization": "Basic sesame"})[0] == 401
        assert server.get(path, {"Authorization": "Bearer sesame"})[0] == 200
    assert server.post("/predict", {"texts": ["x"]})[0] == 401
    assert server.post("/predict", {"texts": ["x"]}, {"Authorization": "bearer sesame"})[0] == 200
    for path in ("/", "/docs", "/openapi.json", "/health", "/static/page.css"):
        assert server.get(path)[0] == 200
    assert server.get("/static/../app.py")[0] in (401, 404)


def test_a_slow_client_is_told_so(start, exported: Path) -> None:
    server = start(exported, "--seconds", 1)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        stream.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = stream.recv(4096)
    assert b" 408 " in answer.split(b"\r\n")[0]


def test_labels_added_and_removed_are_served_at_once(start, copied: Path, tmp_path: Path, call) -> None:
    server = start(copied)
    asked = {"texts": ["sourdough bread and pastry"], "top_k": 1}
    assert server.post("/predict", asked)[1]["predictions"][0]["tags"][0]["label"] != "bread and pastry"
    (tmp_path / "new.txt").write_text("bread and pastry\n")
    assert call("labels", "add", copied, tmp_path / "new.txt")[0] == 0
    assert _until(server, lambda h: h["n_labels"] == 13)
    assert server.post("/predict", asked)[1]["predictions"][0]["tags"][0]["label"] == "bread and pastry"
    assert call("labels", "remove", copied, tmp_path / "new.txt")[0] == 0
    assert _until(server, lambda h: h["n_labels"] == 12)
    (copied / "label_set.json").write_text("{")
    time.sleep(1.5)
    assert server.post("/predict", asked)[0] == 200, "a broken label set does not stop the server"


def _until(server: Any, true: Any) -> bool:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        if true(json.loads(server.get("/health")[1])):
            return True
        time.sleep(0.1)
    return False


def test_a_run_folder_is_served_too(start, run_folder: Path) -> None:
    health = json.loads(start(run_folder, "--backend", "torch").get("/health")[1])
    assert (health["backend"], health["n_labels"]) == ("torch", 12)


def test_it_ends_when_told_to(start, exported: Path) -> None:
    server = start(exported)
    server.process.terminate()
    assert server.process.wait(20) in (0, -15)


def test_a_port_that_is_taken_and_an_empty_token(server, exported: Path, call, monkeypatch) -> None:
    port = server.url.rpartition(":")[2]
    status, _, err = call("serve", exported, "--port", port)
    assert status == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in err
    monkeypatch.setenv("LMTEACH_TOKEN", " ")
    status, _, err = call("serve", exported, "--port", 0)
    assert status == 1
    assert "LMTEACH_TOKEN is set, but empty" in err


def test_it_listens_on_loopback_alone(server) -> None:
    address = socket.gethostbyname(socket.gethostname())
    if address.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError), socket.create_connection((address, int(server.url.rpartition(":")[2])), 3):  # noqa: PT011
        pass


async def _load(url: str, n_clients: int, seconds: float) -> tuple[list[float], list[int]]:
    """Keep `n_clients` busy over connections of their own, by so little code that they do not wait for each other."""
    host, port = url.removeprefix("http://").split(":")
    times: list[float] = []
    statuses: list[int] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        n = 0
        while time.monotonic() < end:
            text = f"A note on bread, oven, flour, client {number} of {n_clients}, request {n}."
            body = json.dumps({"texts": [text], "top_k": 3}).encode()
            head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            start = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
            assert length is not None
            predictions = json.loads(await reader.readexactly(int(length[1])))["predictions"]
            assert len(predictions[0]["tags"]) == 3
            times.append(time.perf_counter() - start)
            statuses.append(int(answer.split(b" ", 2)[1]))
            n += 1
        writer.close()

    await asyncio.gather(*(client(i) for i in range(n_clients)))
    return times, statuses


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_fifty_clients_at_once(server, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    batches = _meter(server, "lmteach_batch_texts_count")
    times, statuses = asyncio.run(_load(server.url, 50, seconds))
    assert set(statuses) == {200}
    batches = _meter(server, "lmteach_batch_texts_count") - batches
    assert batches < len(times), "texts of requests that come together are computed together"
    p50, p99 = statistics.median(times), sorted(times)[int(len(times) * 0.99)]
    with capsys.disabled():
        print(
            f"\n50 clients, {seconds} s: {len(times)} requests, {len(times) / seconds:.0f}/s, "
            f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, {len(times) / batches:.1f} texts a batch"
        )
    assert p99 < 20


def test_openapi_is_whole_and_pages_ask_nobody_else(server) -> None:
    api = json.loads(server.get("/openapi.json")[1])
    assert set(api["paths"]) == {"/predict", "/labels", "/health", "/metrics"}
    for path in ("/", "/docs", "/static/page.js", "/static/docs.js", "/static/page.css"):
        status, text = server.get(path)
        assert status == 200
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"^\s*(//|/\*).*$", "", text, flags=re.M)), path


@pytest.mark.parametrize("examples", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(start, exported: Path, tmp_path: Path, examples: int) -> None:
    pytest.importorskip("schemathesis")
    server = start(exported)  # with limits on a request's size that the description does not already say
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    command += ["--max-examples", str(examples), "--checks", "all", "--generation-database", "none"]
    done = subprocess.run(
        [*command, "--seed", "1"], cwd=tmp_path, capture_output=True, text=True, timeout=500
    )
    said = re.sub(r"(.)\1{60,}", r"\1...", done.stdout)
    assert done.returncode == 0, said[-6000:] + done.stderr[-2000:]
    assert server.get("/health")[0] == 200
