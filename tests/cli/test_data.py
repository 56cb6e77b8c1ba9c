"""`lmteach data` lists, describes and places known sets, and costs next to nothing to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lmteach.cli.main import main
from lmteach.corpus.catalog import CATALOG

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMTEACH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_every_known_set_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = {line.split()[0]: line for line in lines if line}
    assert set(CATALOG) <= set(row)
    assert " 1,186,239 306,782  no " in row["amazoncat-13k"]
    assert " yes " in row["python-docs"]


def test_a_set_that_is_missing_says_what_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "amazoncat-13k"]) == 1
    said = capsys.readouterr()
    assert "13,330" in said.out
    assert "trn.json.gz" in said.err
    assert "lmteach data amazoncat-13k --from ARCHIVE" in said.err


def test_a_set_that_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "python-docs"]) == 0
    assert "docstrings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["amazoncat"], "Did you mean 'amazoncat-13k'?"),
        (["r8", "--from", "/no/such/archive.zip"], "no such file"),
        (["--from", "x.zip"], "Which data set"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *arguments]) == 1
    assert what in capsys.readouterr().err


def test_a_real_set_is_placed_and_then_found(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not SHARED.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    assert main(["data", "r8", "--from", str(SHARED / "r8")]) == 0
    assert "5,485 train, 2,189 test, 8 labels" in capsys.readouterr().out
    assert (data_folder / "r8" / "train.jsonl.gz").is_file()
    assert main(["data", "r8"]) == 0
    assert "there" in capsys.readouterr().out
    assert main(["data", "sst2", "--from", str(SHARED / "r8"), "--to", str(data_folder / "x")]) == 1
    assert "sst2 is not in there" in capsys.readouterr().err
    assert main(["data", "imdb", "--from", str(SHARED / "r8"), "--to", str(data_folder / "x")]) == 1
    assert "train: 5,485 instead of 25,000" in capsys.readouterr().err
    assert not (data_folder / "x").exists()


def test_listing_imports_nothing_heavy() -> None:
    script = (
        "import sys; from lmteach.cli.main import main; main(['data']); "
        "print([m for m in ('pyarrow', 'numpy', 'torch', 'datasets', 'omegaconf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
