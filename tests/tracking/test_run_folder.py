"""A run's folder under kills, full disks and second processes: files are whole or not there, lines are kept."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.errors import RunError
from lmteach.tracking.run_folder import RunFolder, read_json, write_json, write_whole


def test_the_layout(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "x")
    assert folder.recipe == tmp_path / "runs" / "x" / "recipe.yaml"
    assert folder.manifest.name == "manifest.json"
    assert folder.cycle(3) == folder.path / "cycles" / "03"
    assert folder.cycle(3).is_dir()
    assert folder.cycle(117).name == "117"


# Files whole or not at all


def test_a_file_and_a_folder_replace_what_was_there(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write_whole(tmp_path / "file", lambda path, text=text: path.write_text(text))
        assert (tmp_path / "file").read_text() == text

        def write(path: Path, text: str = text) -> None:
            path.mkdir()
            (path / text).write_text(text)

        write_whole(tmp_path / "folder", write)
        assert [p.name for p in (tmp_path / "folder").iterdir()] == [text]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("fault", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_writer_that_fails_changes_nothing(tmp_path: Path, fault: BaseException, as_folder: bool) -> None:
    target = tmp_path / "target"
    if as_folder:
        target.mkdir()
        (target / "old").write_text("old")
    else:
        target.write_text("old")

    def write(path: Path) -> None:
        if as_folder:
            path.mkdir()
            (path / "half").write_text("half")
        else:
            path.write_text("half")
        raise fault

    with pytest.raises(type(fault)):
        write_whole(target, write)
    assert [p.name for p in tmp_path.iterdir()] == ["target"]
    assert (target / "old" if as_folder else target).read_text() == "old"


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path: Path) -> None:
    """In a container the next process often has the same number."""
    leftover = tmp_path / f".student.{os.getpid()}.tmp"
    leftover.mkdir()
    (leftover / "half").write_text("half")
    write_whole(tmp_path / "student", lambda path: path.mkdir())
    assert list((tmp_path / "student").iterdir()) == []


def test_a_killed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"old": 1}')
    script = f"""
        import os, signal
        from pathlib import Path
        from lmteach.tracking.run_folder import write_whole
        def write(path):
            path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_whole(Path({str(tmp_path / "x.json")!r}), write)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_json(tmp_path / "x.json") == {"old": 1}


def _write_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(1_000_000))


def _write_safetensors(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1_000_000)}, path)


def _write_text(path: Path) -> None:
    path.write_text("x" * 1_000_000)


@pytest.mark.parametrize("write", [_write_text, _write_numpy, _write_safetensors])
@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
def test_a_full_disk_is_recognised_whoever_reports_it(small_disk: Path, write) -> None:
    """numpy and the Rust libraries say so only in words."""
    write_json(small_disk / "file", "old")
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(small_disk / "file", write)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(small_disk / "file")
    assert read_json(small_disk / "file") == "old"
    assert [p.name for p in small_disk.iterdir()] == ["file"], "the half-written file gave its space back"


def test_a_limit_on_file_sizes_is_recognised_too(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        for write in (_write_text, _write_numpy, _write_safetensors):
            with pytest.raises(OSError) as caught:  # noqa: PT011
                write_whole(tmp_path / "file", write)
            assert caught.value.errno in (errno.EFBIG, errno.EIO, errno.ENOSPC), write
            assert caught.value.filename == str(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        raise ValueError("no free lunch")

    with pytest.raises(ValueError, match="no free lunch"):
        write_whole(tmp_path / "file", write)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, content) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    try:
        write_json(path, content)
    except UnicodeEncodeError:  # half a character, which no file can hold
        assert list(path.parent.iterdir()) == []
    else:
        assert read_json(path) == content


# One process at a time


def _hold(folder: Path) -> subprocess.Popen[str]:
    """Start a process that takes the folder, says so, and waits."""
    script = f"""
        import sys
        from pathlib import Path
        from lmteach.tracking.run_folder import RunFolder
        folder = RunFolder(Path({str(folder)!r}))
        folder.lock()
        print("locked", flush=True)
        sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    process = _hold(tmp_path)
    try:
        with pytest.raises(
            RunError, match=rf"Another fit \(process {process.pid}\) is writing here"
        ) as caught:
            RunFolder(tmp_path).lock()
        assert "run.folder=" in str(caught.value)
    finally:
        process.communicate()
    folder = RunFolder(tmp_path)
    folder.lock()
    folder.unlock()


def test_a_kill_releases_the_folder(tmp_path: Path) -> None:
    process = _hold(tmp_path)
    process.kill()
    process.wait()
    folder = RunFolder(tmp_path)
    folder.lock()
    assert (tmp_path / ".lock").read_text() == f"process {os.getpid()}"
    folder.unlock()
    folder.unlock()


def test_a_second_lock_of_one_process_is_refused_too(tmp_path: Path) -> None:
    first = RunFolder(tmp_path)
    first.lock()
    with pytest.raises(RunError):
        RunFolder(tmp_path).lock()
    first.unlock()
    again = RunFolder(tmp_path)
    again.lock()
    again.unlock()


def test_taking_the_folder_clears_what_killed_writers_left(tmp_path: Path) -> None:
    (tmp_path / "cycles" / "00" / ".student.17.tmp").mkdir(parents=True)
    (tmp_path / "cycles" / "00" / ".student.17.tmp" / "weights").write_text("half")
    (tmp_path / ".manifest.json.17.tmp").write_text("half")
    (tmp_path / "notes.tmp").write_text("mine")
    folder = RunFolder(tmp_path)
    folder.lock()
    folder.unlock()
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".lock", "00", "cycles", "notes.tmp"]


def test_a_file_in_the_folders_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="A file stands where the run's folder should be"):
            RunFolder(path).lock()


# The event log


def test_events_come_back_in_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.events() == []
    events = [{"event": "cycle", "cycle": i, "text": "a\nb\u2028"} for i in range(3)]
    for event in events:
        folder.log(event)
    assert folder.events() == events
    assert len(folder.metrics.read_bytes().splitlines()) == 3


def test_a_number_that_is_none_survives(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log({"p@1": float("nan")})
    assert math.isnan(folder.events()[0]["p@1"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200))
def test_an_event_cut_short_is_left_out_and_takes_no_other_with_it(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    first, second, third = ({"event": "cycle", "cycle": i, "name": "ünï☃" * 3} for i in range(3))
    folder.log(first)
    folder.log(second)
    whole = folder.metrics.read_bytes()
    one = len(json.dumps(first)) + 1
    kept = one + cut % (len(whole) - one + 1)
    folder.metrics.write_bytes(whole[:kept])
    folder.log(third)
    survived = kept >= len(whole) - 1  # all but the line feed is enough
    assert folder.events() == [first, *([second] if survived else []), third]


def test_an_event_cut_within_a_character_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_bytes('{"a": 1}\n{"b": "ü'.encode()[:-1])
    assert folder.events() == [{"a": 1}]
