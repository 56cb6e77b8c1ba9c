"""Bad input through the command line: one clear message, a status that is not 0, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lmteach.teaching.store import Store
from lmteach.tracking.run_folder import RunFolder

Fails = Callable[..., str]


@pytest.fixture
def corpus(desks: Path, tmp_path: Path) -> Path:
    """A corpus to be spoiled."""
    return Path(shutil.copytree(desks, tmp_path / "corpus"))


@pytest.fixture
def fails(call, recipe_file: Path) -> Fails:
    """Return a function that runs a fit which must fail, and returns what it said in one message."""

    def fails(*overrides: object) -> str:
        status, out, err = call("fit", "--recipe", recipe_file, "--quiet", *overrides)
        assert status == 1
        assert out == ""
        assert err.startswith("lmteach: ")
        assert err.count("lmteach: ") == 1
        assert "Traceback" not in err
        assert len(err.splitlines()) < 12
        return err

    return fails


def spoil(path: Path, number: int, change: Callable[[dict], dict] | str) -> None:
    """Change the line of a JSON lines file with this number, from 1."""
    lines = path.read_text(encoding="utf-8").splitlines()
    old = lines[number - 1]
    lines[number - 1] = change if isinstance(change, str) else json.dumps(change(json.loads(old)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d | {"text": " \n"}, "1 of 120 documents of the train split have no text"),
        (lambda d: d | {"labels": [3, 12]}, "Label id 12 is out of range: "),
        (lambda d: d | {"labels": [-1]}, "Label id -1 is out of range"),
        (lambda d: d | {"labels": ["desk ana"]}, "There is no label 'desk ana'"),
        ('{"id": "x", "text": "cut', "The line is not JSON"),
        ("[1, 2]", "The line holds no JSON object"),
        (lambda d: d | {"text": {"a": 1}}, "The field 'text' is no text but dict"),
    ],
)
def test_a_bad_document_is_named_with_its_file_and_line(
    fails: Fails, corpus: Path, change, said: str
) -> None:
    spoil(corpus / "train.jsonl", 17, change)
    message = fails(f"corpus.path={corpus}")
    assert f"{corpus}/train.jsonl:17" in message
    assert said in message


def test_a_label_id_says_how_many_there_are(fails: Fails, corpus: Path) -> None:
    spoil(corpus / "test.jsonl", 5, lambda d: d | {"labels": [99]})
    message = fails(f"corpus.path={corpus}")
    assert "test.jsonl:5" in message
    assert "has 12 labels, so ids go from 0 to 11" in message


def test_a_label_that_is_there_twice(fails: Fails, corpus: Path) -> None:
    with (corpus / "labels.txt").open("a") as file:
        file.write("desk elena\n")
    message = fails(f"corpus.path={corpus}")
    assert "labels.txt:13: The label 'desk elena' is there twice: first on line 5" in message


def test_a_label_set_of_one(fails: Fails, corpus: Path) -> None:
    (corpus / "labels.txt").write_text("desk anna\n")
    assert "The label set has 1 label" in fails(f"corpus.path={corpus}")


def test_fewer_labels_than_the_shortlist(fails: Fails) -> None:
    message = fails("search.n_kept=30", "search.n_retrieved=40")
    assert (
        "The label set has 12 labels, fewer than search.n_kept = 30.\n  Set search.n_kept=12 or less"
        in message
    )
    message = fails("search.n_judged=13", "search.n_kept=13", "search.n_retrieved=40")
    assert "fewer than search.n_judged = 13" in message


def test_no_corpus_there(fails: Fails, tmp_path: Path) -> None:
    assert f"{tmp_path}/none" in fails(f"corpus.path={tmp_path}/none")
    assert "Did you mean 'eurlex57k'" in fails("corpus.path=", "corpus.name=eurlex57")


def test_too_few_documents_to_draw_from(fails: Fails) -> None:
    message = fails("corpus.n_train=110")
    assert "There are 120 training documents, too few" in message


def test_a_known_set_that_is_not_here_says_how_to_get_it(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LMTEACH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    status, out, err = call("fit", "--recipe", "lmtx_amazoncat.yaml")
    assert (status, out) == (1, "")
    for said in ("trn.json.gz", "tst.json.gz", "http", "lmteach data amazoncat-13k --from ARCHIVE"):
        assert said in err
    assert "Traceback" not in err
    again, _, _ = call("fit", "--recipe", "lmtx_amazoncat.yaml")
    assert again == 1
    assert "a run here already" not in err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "training.batchsize=4",
            "command line: There is no key 'batchsize' in 'training'. Did you mean 'batch_size'?",
        ),
        ("teacher.nois=1", "There is no key 'nois' in 'teacher'. Did you mean 'noise'?"),
        ("teacher.name=orakel", "There is no teacher named 'orakel'. Did you mean 'oracle'?"),
        ("training.epochs=many", "'training.epochs' cannot be 'many'"),
        ("training.epochs=0", "training.epochs = 0 must be above 0"),
        ("seed=-1", "seed = -1 must lie between 0"),
        ("curriculum.cycles=0", "curriculum.cycles: It is 0; it must be 1 or more"),
        ("student.encoder.label_length=1", "student.encoder.label_length: It is 1"),
        ("student.encoder.model=./no/such/model", "There is no model at"),
        ("student.encoder.model=package:no_weights/x", "pip install no-weights"),
        ("trainer.accelerator=banana", "The accelerator 'banana' is not to be had"),
        ("teacher.noise=2", "teacher.noise: A share must lie between 0 and 1"),
        ("teacher={name: segment}", "The teacher 'segment' makes pairs of texts; it judges no candidates"),
        ("warmup.teacher={name: oracle}", "The teacher 'oracle' makes no pairs"),
        ("teacher={name: ensemble}", "An ensemble needs members"),
    ],
)
def test_a_bad_recipe(fails: Fails, override: str, said: str) -> None:
    assert said in fails(override)


def test_all_faults_of_a_recipe_come_in_one_message(fails: Fails) -> None:
    message = fails("training.batchsize=4", "sed=1", "training.lr=fast")
    assert "has 3 faults:" in message
    assert all(said in message for said in ("'batch_size'", "'seed'", "'fast'"))


# Teachers that cannot be had, and teachers that talk nonsense


TEACHERS = """
import math
from dataclasses import dataclass
from lmteach.errors import missing_package
from lmteach.types import Verdict

class Base:
    @dataclass
    class Config:
        pass
    scope = "pair"
    def __init__(self, config, resources):
        pass
    @property
    def identity(self):
        return type(self).__name__
    def judge(self, batch):
        return [Verdict(tuple(self.score(j, c) for c in j.candidates)) for j in batch]
    def close(self):
        pass

class NotInstalled(Base):
    def __init__(self, config, resources):
        command = "pip install 'lmteach[vllm]'"
        raise missing_package("vllm", needed_by="The teacher vllm", command=command)

class Nan(Base):
    def score(self, judgement, candidate):
        return math.nan if (judgement.document_id, candidate) == ("train7", "desk leo") else 1.0

class Infinite(Base):
    def score(self, judgement, candidate):
        return math.inf

class TooFew(Base):
    def judge(self, batch):
        return [Verdict((1.0,)) for j in batch]

class NoVerdicts(Base):
    def judge(self, batch):
        return []

class Refuses(Base):
    def score(self, judgement, candidate):
        return -1.0

class Mute(Base):
    def score(self, judgement, candidate):
        return None
"""


@pytest.fixture
def teacher(tmp_path: Path) -> Callable[[str], str]:
    (tmp_path / "teachers.py").write_text(TEACHERS)
    return lambda name: f"teacher={{name: {tmp_path}/teachers.py:{name}}}"


def test_a_teacher_that_is_not_installed_names_the_command(fails: Fails, teacher, tmp_path: Path) -> None:
    message = fails(teacher("NotInstalled"))
    assert "vllm, which is not installed.\n  pip install 'lmteach[vllm]'" in message
    assert not (tmp_path / "run" / "cycles").exists(), "said before documents were encoded"


def test_our_own_teachers_name_their_extra(fails: Fails) -> None:
    import importlib.util

    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vllm is installed here")
    assert "pip install" in fails("teacher={name: vllm, model: some/model}")


def test_nan_from_a_teacher_names_document_and_label_and_keeps_the_rest(
    fails: Fails, teacher, tmp_path
) -> None:
    message = fails(teacher("Nan"))
    assert "document train7: The teacher scored the candidate 'desk leo' nan, which is no number" in message
    with Store.open(tmp_path / "store.sqlite") as store:
        kept = sum(stats.verdicts for stats in store.stats())
    assert kept >= 11, "the batch's other answers are kept"
    assert kept % 12 == 11


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Infinite", "inf, which is no number"),
        ("TooFew", "The teacher gave 1 scores for 12 candidates"),
        ("NoVerdicts", "The teacher gave 0 verdicts"),
        ("Refuses", "The teacher affirmed none of 1200 candidates (0 unread)"),
        ("Mute", "The teacher affirmed none of 1200 candidates (1200 unread)"),
    ],
)
def test_a_teacher_that_talks_nonsense(fails: Fails, teacher, name: str, said: str) -> None:
    assert said in fails(teacher(name))


def test_a_plugin_file_that_breaks(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    message = fails(f"teacher={{name: {tmp_path}/broken.py:X}}")
    assert "broken.py cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in message


def test_training_that_diverges_says_what_to_lower(fails: Fails) -> None:
    assert "try a lower training.lr" in fails("training.lr=1e30", "training.warmup_steps=0")


# Places that cannot be written


def test_a_folder_that_may_not_be_written(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "A file stands where the run's folder should be" in fails(f"run.folder={tmp_path}/file/run")
    assert f"{tmp_path}/file" in fails(f"run.store={tmp_path}/file/store.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in fails(f"run.folder={tmp_path}/locked/run")


def _check_stopped_and_resumed(
    process: subprocess.Popen[str], folder: Path, resume: Callable[[], int]
) -> None:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert "The disk is full" in err
    assert "cycles/00/student could not be written. Nothing that was already written is lost" in err
    kept = {p.name for p in (folder / "cycles" / "00").iterdir()}
    assert {"shortlist.npz", "verdicts.npz", "annotations.npz"} <= kept
    assert not list(folder.rglob("*.tmp")), "the half-written student gave its space back"
    assert resume() == 0
    assert RunFolder(folder).events()[-1]["event"] == "final"


def test_a_limit_on_file_sizes_while_the_student_is_written(spawn, call, recipe_file, tmp_path) -> None:
    """The same as a full disk, where none can be mounted."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))

    arguments = ("fit", "--recipe", recipe_file, "--quiet", "training.epochs=1")
    process = spawn(*arguments, preexec_fn=limit)
    _check_stopped_and_resumed(process, tmp_path / "run", lambda: call(*arguments, "--resume")[0])


@pytest.mark.parametrize("small_disk", ["8m"], indirect=True)
def test_a_full_disk_while_the_student_is_written(spawn, call, recipe_file, small_disk: Path) -> None:
    run = f"run.folder={small_disk}/run"
    arguments = ("fit", "--recipe", recipe_file, "--quiet", "training.epochs=1", run)

    def resume() -> int:
        subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        return int(call(*arguments, "--resume")[0])

    _check_stopped_and_resumed(spawn(*arguments), small_disk / "run", resume)
