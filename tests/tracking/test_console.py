"""What a run says: plain lines in logs, bars and whole tables on terminals."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import textwrap

import pytest

from lmteach.tracking import console as module
from lmteach.tracking.console import Console


def test_a_quiet_console_says_nothing_but_tables(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.say("hello")
    with console.stage("judge", 5) as stage:
        stage.advance(5, unread=1)
    console.table("Title", ["name", "value"], [["a", "1.0"]])
    said = capsys.readouterr()
    assert said.err == ""
    assert "Title" in said.out
    assert "1.0" in said.out


def test_a_stage_in_a_log_is_a_line_now_and_then_and_one_at_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Console().stage("judge", 1000, unit="docs") as stage:
        for step in range(10):
            now[0] += 3
            stage.advance(100, from_store=step, unread=0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "judge: 400 of 1,000 docs, 18 s left from store 3  unread 0",
        "judge: 800 of 1,000 docs, 6 s left from store 7  unread 0",
        "judge: 1,000 docs in 30.0 s",
    ]


def test_a_stage_that_fails_does_not_say_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Console().stage("judge", 10) as stage:
            stage.advance(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr().err == ""


def test_nothing_to_do_is_said_too(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().stage("judge", 0):
        pass
    assert capsys.readouterr().err.startswith("judge: 0 docs in ")


ROWS = [[f"student {i}", *(f"0.{i}23 [0.1{i}3, 0.4{i}6]" for _ in range(6))] for i in range(3)]


def test_a_piped_table_is_as_wide_as_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("T", ["student", *"abcdef"], ROWS)
    out = capsys.readouterr().out
    for row in ROWS:
        (line,) = [line for line in out.splitlines() if row[0] in line]
        assert re.split(r"\s{2,}", line.strip()) == row
    assert "\x1b" not in out


def on_terminal(script: str, columns: int = 80) -> str:
    """Run a script on a pseudo-terminal of 80 columns; return what it would show."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


def test_a_table_on_a_narrow_terminal_loses_no_figure() -> None:
    shown = on_terminal(f"""
        from lmteach.tracking.console import Console
        Console().table("T", ["student", *"abcdef"], {ROWS!r})
    """)
    assert "…" not in shown
    for row in ROWS:
        for cell in row:
            assert cell in re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_a_bar_shows_numbers_and_gives_the_cursor_back() -> None:
    shown = on_terminal("""
        from lmteach.tracking.console import Console
        console = Console()
        with console.stage("judge", 3) as stage:
            for _ in range(3):
                stage.advance(1, unread=7)
        try:
            with console.stage("train", 3) as stage:
                stage.advance(1)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
    """)
    assert "judge" in shown
    assert "unread 7" in shown
    assert "judge: 3 docs in" in shown
    assert "train: 3 docs" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is shown as often as hidden"


def test_a_judging_bar_fits_80_columns_with_all_its_numbers() -> None:
    shown = on_terminal("""
        from lmteach.curriculum.judging import judging_numbers
        from lmteach.tracking.console import Console
        counts = {"made": 12345, "from_store": 0, "unread": 7, "usd": 1.234, "seconds": 100, "yes": 3, "read": 10}
        with Console().stage("judge", 1600) as stage:
            stage.advance(800, **judging_numbers(counts))
    """)
    for part in ("judged 12,345 (123/s)", "yes 30%", "unread 7", "usd 1.23"):
        assert part in shown, shown


@pytest.mark.parametrize(
    ("variables", "speaks"), [({"RANK": "1"}, False), ({"LOCAL_RANK": "0"}, True), ({}, True)]
)
def test_only_the_first_of_many_processes_speaks(
    variables: dict[str, str],
    speaks: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    console = Console()
    console.say("hello")
    with console.stage("judge", 1) as stage:
        stage.advance(1)
    console.table("T", ["a"], [["1"]])
    said = capsys.readouterr()
    assert bool(said.err) is speaks
    assert bool(said.out) is speaks
