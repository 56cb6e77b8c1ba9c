"""The command itself: its help and how fast it comes, unknown words, exit statuses, interrupted and unread output."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmteach.cli import main as module
from lmteach.cli.main import VERBS, main

COMMAND = [sys.executable, "-m", "lmteach.cli.main"]
HEAVY = (
    "torch",
    "lightning",
    "transformers",
    "peft",
    "scann",
    "pyarrow",
    "sqlalchemy",
    "wandb",
    "datasets",
    "vllm",
)


def run(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


# Help


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_overview_lists_every_verb(arguments: list[str], capsys) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for verb, summary in VERBS.items():
        assert f"  {verb:<14} {summary}" in out
    assert "examples:" in out


def test_the_version_is_the_packages(capsys) -> None:
    import lmteach

    assert main(["--version"]) == main(["-V"]) == 0
    assert capsys.readouterr().out == f"lmteach {lmteach.__version__}\n" * 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_without_anything_heavy(verb: str) -> None:
    script = (
        "import sys\n"
        "from lmteach.cli.main import main\n"
        f"try: main([{verb!r}, '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: lmteach {verb}")
    assert "examples" in done.stdout or "lmteach" in done.stdout


def test_help_comes_at_once() -> None:
    """Within 0.3 s of a bare interpreter; the best of several, since other programs run here too."""

    def best(command: list[str]) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - started)
        return min(times)

    assert best([*COMMAND, "--help"]) < best([sys.executable, "-c", "pass"]) + 0.3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["recipes"],
        ["plugins"],
        ["show", "--recipe", "lmtx_quickstart.yaml"],
        ["show", "--recipe", "lmtx_amazoncat", "--origin", "teacher.name=oracle"],
        ["data"],
        ["nonsense"],
    ],
)
def test_light_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lmteach.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported, "the list of imports was read"
    assert not imported & set(HEAVY)


# Words nobody knows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fti"], "There is no verb 'fti'. Did you mean 'fit'?\n  `lmteach --help` lists the verbs."),
        (["xyzzy"], "There is no verb 'xyzzy'.\n"),
        (["--recipe"], "There is no verb '--recipe'. Did you mean 'recipes'?"),
    ],
)
def test_an_unknown_verb(arguments: list[str], said: str, capsys) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"lmteach: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit"], "one of the arguments --recipe --from is required"),
        (["fit", "--recipe", "x", "--resmue"], "unrecognised: --resmue (did you mean --resume?)"),
        (["fit", "--recipe", "x", "--training.lr", "1e-5"], "unrecognised: --training.lr"),
        (["fit", "lmtx_quickstart.yaml"], "one of the arguments --recipe --from is required"),
        (["recipes", "a=1"], "unrecognised: a=1"),
        (["plugins", "--chekc"], "unrecognised: --chekc (did you mean --check?)"),
        (["predict", "x"], "required: INPUT"),
        (["predict", "x", "y", "--top-k", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_wrong_command_line_is_status_2(call, arguments: list[str], said: str) -> None:
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith(f"usage: lmteach {arguments[0]}")


@pytest.mark.parametrize("dashes", ["", "-", "--"])
def test_overrides_may_stand_anywhere_with_or_without_dashes(call, dashes: str) -> None:
    for arguments in (
        ["--recipe", "lmtx_quickstart", f"{dashes}seed=5", f"{dashes}loss.margin=0.5"],
        [f"{dashes}seed=5", "--recipe", "lmtx_quickstart", f"{dashes}loss.margin=0.5"],
        [f"{dashes}seed=5", f"{dashes}loss.margin=0.5", "--recipe=lmtx_quickstart"],
    ):
        status, out, _ = call("show", *arguments)
        assert status == 0
        assert "seed: 5\n" in out
        assert "margin: 0.5\n" in out


def test_an_override_without_a_value_is_explained(call) -> None:
    status, _, err = call("show", "--recipe", "lmtx_quickstart", "training.lr")
    assert status == 1
    assert "'training.lr' is no override.\n  Write key=value" in err


# Ends


def test_an_error_is_one_message_and_status_1() -> None:
    done = run("show", "--recipe", "no_such_recipe")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lmteach: There is no recipe 'no_such_recipe'")
    assert "Traceback" not in done.stderr


def test_output_that_nobody_reads_on_is_no_error() -> None:
    for arguments in ("--help", "show --recipe lmtx_quickstart", "recipes"):
        command = f"{sys.executable} -m lmteach.cli.main {arguments} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), arguments


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_one_message() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "show", "--recipe", "lmtx_quickstart"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("lmteach: The disk is full: a file could not be written.")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/x/y"), "The disk is full: /x/y could not be written"),
        (OSError(27, "File too large", "/x/y"), "The disk is full: /x/y"),
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied."),
        (NotADirectoryError(20, "Not a directory", "/x/y"), "/x/y: Not a directory."),
        (OSError(5, "Input/output error"), "a file: Input/output error."),
        (TimeoutError("too long"), "TimeoutError: too long."),
    ],
)
def test_what_the_system_refuses_is_one_message(error: OSError, said: str, monkeypatch, capsys) -> None:
    def failing(args) -> int:
        raise error

    from lmteach.cli import recipes

    monkeypatch.setattr(recipes, "run", failing)
    assert main(["recipes"]) == 1
    assert capsys.readouterr().err.startswith(f"lmteach: {said}")


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch) -> None:
    """What nobody foresaw must not be dressed up as the user's mistake."""
    from lmteach.cli import recipes

    monkeypatch.setattr(recipes, "run", lambda args: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["recipes"])


SLEEPING = """
import time
from dataclasses import dataclass
class Sleeping:
    @dataclass
    class Config:
        pass
    identity, scope = "sleeping", "none"
    def __init__(self, config, resources):
        pass
    def judge(self, batch):
        print("asleep", flush=True)
        time.sleep(60)
    def close(self):
        pass
"""


def test_ctrl_c_stops_a_fit_with_one_line(spawn, recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    teacher = f"teacher={{name: {tmp_path}/sleeping.py:Sleeping}}"
    process = spawn("fit", "--recipe", recipe_file, "--quiet", teacher)
    assert process.stdout.readline() == "asleep\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "lmteach: Stopped. What was written stays; `--resume` goes on with a run."
    assert (tmp_path / "run" / "cycles" / "00" / "shortlist.npz").is_file()


def test_the_verb_table_names_files_that_exist() -> None:
    folder = Path(module.__file__).parent
    assert {p.stem for p in folder.glob("*.py")} - {"__init__", "main"} == {
        verb.replace("-", "_") for verb in VERBS
    }
