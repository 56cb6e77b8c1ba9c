"""`fit` from end to end: what a run leaves, what it may not read, and how it goes on after any kind of end."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.corpus.documents import Documents
from lmteach.corpus.load import load_corpus
from lmteach.curriculum import cycles, finish
from lmteach.curriculum.cycles import fit
from lmteach.errors import RunError, TeacherError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe
from lmteach.search.shortlist import Shortlist
from lmteach.students.biencoder import BiEncoderModule
from lmteach.students.encode import encode_texts
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.tagger import load_labels
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("own_cache")

QUIET = Console(quiet=True)
TWO_CYCLES = ("curriculum.cycles=2", "curriculum.patience=2")  # as `finished_run` has them
Finished = tuple[Path, dict[str, Any]]


def metrics_of(final: Mapping[str, Any]) -> dict[str, Any]:
    """What of a final line must not depend on when, where and in how many attempts a run was made."""
    return {key: final[key] for key in ("untuned", "student", "by_name", "best_cycle", "cycles", "chosen")}


@pytest.fixture
def make(recipe_file: Path) -> Callable[..., Recipe]:
    """Return a function that loads the desk recipe with overrides."""
    return lambda *overrides: load_recipe(str(recipe_file), overrides).recipe


# What a run leaves


def test_the_run_folder_holds_what_it_says(finished_run: Finished) -> None:
    folder, _ = finished_run
    assert {p.name for p in folder.iterdir()} - {".lock", "spent.json"} == {
        "recipe.yaml",
        "manifest.json",
        "metrics.jsonl",
        "test_scores.npz",
        "told.json",
        "tracking",
        "cycles",
        "student",
    }
    assert sorted(p.name for p in (folder / "cycles").iterdir()) == ["00", "01"]
    for cycle in (folder / "cycles").iterdir():
        names = {p.name for p in cycle.iterdir()}
        assert {"shortlist.npz", "verdicts.npz", "annotations.npz", "student", "cycle.json"} <= names
    assert not list(folder.rglob("*.tmp"))


def test_the_final_line_has_the_keys_that_were_promised(finished_run: Finished) -> None:
    folder, final = finished_run
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["cycle", "cycle", "final"]
    assert lines[-1] == final
    for student in ("untuned", "student"):
        assert {"p@1", "p@3", "p@5", "r@10", "ndcg@5"} <= final[student].keys()
        assert all(0 <= value <= 1 for value in final[student].values())
    assert {"p@1", "yes_rate", "unread"} <= final["teacher"].keys()
    assert final["judgements"] == 2 * (100 * 12 + 20 * 2)
    assert final["from_store"] == 0
    assert final["seconds"] > 0
    assert set(final["by_name"]) == {"untuned", "cycle 0", "cycle 1"}
    for name, bounds in final["intervals"].items():
        for metric, (low, high) in bounds.items():
            assert low - 1e-9 <= final["by_name"][name][metric] <= high + 1e-9


def test_a_cycles_line_tells_what_it_did(finished_run: Finished) -> None:
    folder, _ = finished_run
    for number, line in enumerate(RunFolder(folder).events()[:2]):
        assert line["cycle"] == number
        assert (line["documents"], line["trained_on"], line["positives"]) == (100, 100, 200)
        assert line["yes_rate"] == pytest.approx(2 / 12)
        assert line["steps"] == 2 * (100 // 16)
        assert line["judgements"] == 1240
        assert 0 <= line["dev_p1"] <= 1
        assert json.loads((folder / "cycles" / f"{number:02d}" / "cycle.json").read_text()) == line


def test_the_student_taught_by_gold_beats_the_untuned_one(finished_run: Finished) -> None:
    _, final = finished_run
    assert final["untuned"]["p@1"] < 0.3
    assert final["student"]["p@1"] > 0.7
    assert final["gain"]["p@1"]["low"] > 0.3
    assert final["gain"]["p@1"]["difference"] == pytest.approx(
        final["student"]["p@1"] - final["untuned"]["p@1"]
    )
    assert final["teacher"]["p@1"] == 1.0
    assert final["teacher"]["candidates_recall"] == 1.0


def test_the_manifest_names_versions_seed_data_and_models(finished_run: Finished) -> None:
    folder, _ = finished_run
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["seed"] == 108
    assert {"lmteach", "torch", "transformers", "lightning"} <= manifest["versions"].keys()
    recipe = load_recipe(str(folder / "recipe.yaml")).recipe
    corpus = load_corpus(recipe.corpus, recipe.seed, Path.cwd())
    assert manifest["corpus"] == corpus.fingerprint
    assert manifest["teacher"].startswith(f"oracle corpus={corpus.fingerprint[:16]}")
    assert "32" not in manifest["student_start"]["model"] or manifest["student_start"]["fingerprint"]
    assert len(manifest["student_start"]["fingerprint"]) == 16


def test_the_kept_recipe_is_what_was_run(finished_run: Finished) -> None:
    folder, _ = finished_run
    kept = load_recipe(str(folder / "recipe.yaml")).recipe
    given = load_recipe(str(folder.parent / "recipe.yaml"), TWO_CYCLES).recipe
    assert kept == given


def test_the_best_cycles_student_is_kept_with_its_labels(finished_run: Finished, desks: Path) -> None:
    folder, final = finished_run
    events = RunFolder(folder).events()[:2]
    assert final["best_cycle"] == max(range(2), key=lambda i: events[i]["dev_p1"])
    best = folder / "cycles" / f"{final['best_cycle']:02d}" / "student"
    weights = "model.safetensors"
    assert (folder / "student" / weights).read_bytes() == (best / weights).read_bytes()
    names, vectors = load_labels(folder / "student")
    assert names == (desks / "labels.txt").read_text().split("\n")[:-1]
    encoder = PooledEncoder(str(folder / "student"), lengths={"document": 40, "search": 40, "label": 8})
    np.testing.assert_allclose(encode_texts(encoder, names, "label"), vectors, atol=1e-5)


def test_sentence_transformers_loads_the_student(finished_run: Finished) -> None:
    from sentence_transformers import SentenceTransformer

    folder, _ = finished_run
    texts = ["A note on bread, oven, flour.", "A note on moon, comet, galaxy.", "ünïcode ☃"]
    model = SentenceTransformer(str(folder / "student"), device="cpu")
    encoder = PooledEncoder(str(folder / "student"), lengths={"document": 40, "search": 40, "label": 8})
    theirs, ours = model.encode(texts, convert_to_numpy=True), encode_texts(encoder, texts, "search")
    assert (theirs * ours).sum(1).min() > 0.9999
    assert np.abs(theirs - ours).max() < 1e-4


# What it may not read


def test_dev_never_overlaps_train(finished_run: Finished) -> None:
    folder, _ = finished_run
    recipe = load_recipe(str(folder / "recipe.yaml")).recipe
    corpus = load_corpus(recipe.corpus, recipe.seed, Path.cwd())
    assert corpus.dev is not None
    assert corpus.test is not None
    assert len(corpus.dev) == 20
    assert set(corpus.dev.ids).isdisjoint(corpus.train.ids)
    assert set(corpus.test.ids).isdisjoint([*corpus.train.ids, *corpus.dev.ids])
    assert corpus.dev.gold_access == "withheld"
    assert corpus.test.gold_access == "sealed"
    trained = Shortlist.load(folder / "cycles" / "00" / "shortlist.npz").positions_q
    assert {corpus.train[int(i)].id for i in trained} == set(corpus.train.ids)


def test_a_dev_that_overlaps_train_stops_the_run(make, monkeypatch) -> None:
    from lmteach.corpus import load

    def overlapping(*args: Any) -> Any:
        split = draw(*args)
        return dataclasses.replace(split, dev=np.sort(np.append(split.dev[1:], split.train[0])))

    draw = load.draw_split
    monkeypatch.setattr(load, "draw_split", overlapping)
    with pytest.raises(RunError, match="1 documents are in both train and dev"):
        fit(make(), QUIET)


PEEKING = """
from dataclasses import dataclass
from lmteach.types import Verdict

class Peeking:
    @dataclass
    class Config:
        through: str = "gold"
    identity, scope = "peeking", "none"
    def __init__(self, config, resources):
        self.config, self.corpus = config, resources.corpus
    def judge(self, batch):
        getattr(self.corpus.test, self.config.through)
        self.corpus.test.gold_for_oracle()
        return [Verdict((1.0,) * len(j.candidates)) for j in batch]
    def close(self):
        pass
"""


def test_test_gold_that_is_read_before_the_end_stops_the_run(make, tmp_path: Path) -> None:
    (tmp_path / "peeking.py").write_text(PEEKING)
    for through in ("gold", "fingerprint"):  # the second lets it come as far as the oracle's own way in
        recipe = make(
            f"teacher={{name: {tmp_path}/peeking.py:Peeking, through: {through}}}",
            f"run.folder={tmp_path}/{through}",
        )
        with pytest.raises(RunError, match="asked for before training was over"):
            fit(recipe, QUIET)
        assert not (tmp_path / through / "student").exists()


def test_test_gold_is_unsealed_only_when_all_students_are_trained(make, monkeypatch, tmp_path: Path) -> None:
    seen: list[set[str]] = []
    unseal = Documents.unseal

    def watched(self: Documents) -> None:
        seen.append({p.parent.name for p in (tmp_path / "run" / "cycles").glob("*/student")})
        assert (tmp_path / "run" / "student").is_dir()
        unseal(self)

    monkeypatch.setattr(Documents, "unseal", watched)
    fit(make("training.epochs=1"), QUIET)
    assert seen == [{"00"}]


# Twice, at once, otherwise


def test_a_second_fit_is_refused_and_changes_nothing(finished_run: Finished) -> None:
    folder, _ = finished_run
    recipe = load_recipe(str(folder / "recipe.yaml")).recipe
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    with pytest.raises(RunError, match=r"There is a run here already\.\n  Add --resume"):
        fit(recipe, QUIET)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_finished_run_is_not_done_again(finished_run: Finished, capsys) -> None:
    folder, final = finished_run
    recipe = load_recipe(str(folder / "recipe.yaml")).recipe
    started = time.monotonic()
    assert fit(recipe, Console(), resume=True) == final
    assert time.monotonic() - started < 10
    assert "is finished already" in capsys.readouterr().err
    assert len(RunFolder(folder).events()) == 3


def test_a_changed_recipe_says_which_keys_differ(finished_run: Finished) -> None:
    folder, _ = finished_run
    overrides = ["training.lr=5e-3", "teacher={name: oracle, noise: 0.25}"]
    recipe = load_recipe(str(folder / "recipe.yaml"), overrides).recipe
    with pytest.raises(RunError) as caught:
        fit(recipe, QUIET, resume=True)
    said = str(caught.value)
    assert "teacher.noise was 0.0, now 0.25; training.lr was 0.001, now 0.005" in said
    assert "run.folder=" in said
    assert said.count(" was ") == 2


def test_two_fits_at_once_are_refused(make, tmp_path: Path) -> None:
    holder = RunFolder(tmp_path / "run")
    holder.lock()
    try:
        with pytest.raises(RunError, match="is writing here"):
            fit(make(), QUIET)
    finally:
        holder.unlock()
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_run_that_stopped_at_its_corpus_may_be_begun_again(make, tmp_path: Path, desks: Path) -> None:
    """Who is told to fetch the data first should not be told to resume afterwards."""
    from lmteach.errors import CorpusError

    with pytest.raises(CorpusError):
        fit(make(f"corpus.path={tmp_path}/later"), QUIET)
    assert not (tmp_path / "run" / "manifest.json").exists()
    shutil.copytree(desks, tmp_path / "later")
    final = fit(make(f"corpus.path={tmp_path}/later", "training.epochs=1"), QUIET)
    assert final["event"] == "final"


# Budgets, warm-up, small label sets


def test_a_budget_stops_labelling_and_still_trains(make, tmp_path: Path) -> None:
    final = fit(make("budget.judgements=400"), QUIET)
    assert 300 <= final["judgements"] <= 400
    cycle = RunFolder(tmp_path / "run").events()[0]
    assert cycle["trained_on"] <= 400 / 12
    assert cycle["documents"] == 100
    assert cycle["dev_p1"] == 0.0, "nothing was left to ask about dev documents"
    assert (tmp_path / "run" / "student" / "model.safetensors").is_file()
    assert final["student"]["p@1"] != final["untuned"]["p@1"]


def test_a_warm_up_comes_before_the_first_cycle(make, tmp_path: Path) -> None:
    """Titles say nothing of these notes' desks, so the warmed-up student is a row of its own, not a winner."""
    final = fit(make("warmup.teacher={name: title}", "training.epochs=1"), QUIET)
    assert set(final["by_name"]) == {"untuned", "warm-up", "cycle 0"}
    assert (tmp_path / "run" / "warmup" / "student" / "model.safetensors").is_file()
    assert final["by_name"]["warm-up"] != final["by_name"]["untuned"]


def test_fewer_labels_than_metrics_look_at(make, tmp_path: Path, desks: Path) -> None:
    folder = tmp_path / "four"
    folder.mkdir()
    for split in ("train", "test"):
        notes = map(json.loads, (desks / f"{split}.jsonl").read_text().splitlines())
        kept = [n | {"labels": [i for i in n["labels"] if i < 4]} for n in notes if min(n["labels"]) < 4]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(n) + "\n" for n in kept))
    (folder / "labels.txt").write_text("".join((desks / "labels.txt").read_text().splitlines(True)[:4]))
    sizes = [f"search.{key}=4" for key in ("n_retrieved", "n_kept", "n_judged")]
    recipe = make(f"corpus.path={folder}", "corpus.n_dev=10", "training.epochs=1", *sizes)
    final = fit(recipe, QUIET)
    assert final["student"]["r@10"] == 1.0
    assert final["student"]["p@10"] <= 0.2 + 1e-9, "P@10 is over ten places, filled or not"


# What was paid for is not paid for again


PAID = '''
import json, os
from dataclasses import dataclass
from pathlib import Path
from lmteach.errors import TeacherError
from lmteach.types import Usage, Verdict

class Paid:
    """Says yes to what shares a word with the text; breaks off after a number of questions."""
    @dataclass
    class Config:
        log: str
        scale: float = 1.0
    scope = "pair"
    def __init__(self, config, resources):
        import torch
        torch.rand(3)
        self.config, self.gold = config, None
        self.corpus = resources.corpus
    @property
    def identity(self):
        return f"paid {self.config.scale}"
    def judge(self, batch):
        if self.gold is None:
            views = [self.corpus.train, self.corpus.dev]
            golds = [view.gold_for_oracle() for view in views]
            self.gold = {i: set(g.of(n).tolist()) for v, g in zip(views, golds) for n, i in enumerate(v.ids)}
        with open(self.config.log, "a") as log:
            for j in batch:
                log.writelines(f"{j.document_id}\\t{c}\\n" for c in j.candidates)
        stop = Path(self.config.log).with_suffix(".stop")
        if stop.exists() and sum(1 for _ in open(self.config.log)) > int(stop.read_text()):
            raise TeacherError("The server is gone.")
        usage = Usage(10, 1, 0.0, 0.001)
        return [
            Verdict(tuple(1.0 if i in self.gold[j.document_id] else -1.0 for i in j.label_ids), usage=usage)
            for j in batch
        ]
    def close(self):
        pass
'''


@pytest.fixture
def paid(tmp_path: Path) -> tuple[str, Path]:
    """How a recipe names a teacher whose answers are kept, and the log of what it was asked."""
    (tmp_path / "paid.py").write_text(PAID)
    log = tmp_path / "asked.log"
    return f"teacher={{name: {tmp_path}/paid.py:Paid, log: {log}}}", log


def test_a_resumed_run_asks_only_what_nobody_has_answered(make, paid, tmp_path: Path) -> None:
    teacher, log = paid
    recipe = make(teacher, "training.epochs=1")
    log.with_suffix(".stop").write_text("500")
    with pytest.raises(TeacherError, match="The server is gone"):
        fit(recipe, QUIET)
    answered = len(log.read_text().splitlines()) - 0
    log.with_suffix(".stop").unlink()
    spent = json.loads((tmp_path / "run" / "spent.json").read_text())
    assert 0 < spent["judgements"] < answered, "what was answered before the end is charged"
    final = fit(recipe, QUIET, resume=True)
    asked = log.read_text().splitlines()
    again = len(asked) - len(set(asked))
    assert again <= answered - spent["judgements"], "only the batch that broke off is asked again"
    assert len(set(asked)) == 1240
    assert final["judgements"] == 1240
    assert final["from_store"] >= spent["judgements"]


def test_another_run_over_the_same_store_pays_nothing(make, paid, tmp_path: Path) -> None:
    teacher, log = paid
    fast = "training.epochs=1"
    first = fit(make(teacher, fast), QUIET)
    assert first["judgements"] == 1240
    assert first["usd"] == pytest.approx(0.001 * 120)
    second = fit(make(teacher, fast, f"run.folder={tmp_path}/second", "loss.name=triplet"), QUIET)
    assert second["judgements"] <= 40, "only dev documents, whose shortlists another student makes"
    assert second["from_store"] >= 1200
    assert len(log.read_text().splitlines()) == first["judgements"] + second["judgements"]


def test_a_cap_holds_over_a_resume(make, paid) -> None:
    teacher, log = paid
    recipe = make(teacher, "training.epochs=1", "budget.judgements=600")
    log.with_suffix(".stop").write_text("400")
    with pytest.raises(TeacherError):
        fit(recipe, QUIET)
    log.with_suffix(".stop").unlink()
    final = fit(recipe, QUIET, resume=True)
    assert final["judgements"] <= 600


# Going on after any kind of end


class _Crash(BaseException):
    """Ends a run where it stands, as a kill would; nothing may catch it."""


def _crash_in_training(patch: pytest.MonkeyPatch) -> None:
    step, seen = BiEncoderModule.training_step, []

    def failing(self: BiEncoderModule, *args: Any) -> Any:
        seen.append(1)
        if len(seen) > 15:  # in the second cycle
            raise _Crash
        return step(self, *args)

    patch.setattr(BiEncoderModule, "training_step", failing)


def _crash_at_dev(patch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any) -> float:
        raise _Crash

    patch.setattr(cycles, "judge_dev", failing)


def _crash_between_line_and_mark(patch: pytest.MonkeyPatch) -> None:
    def failing(path: Path, content: Any) -> None:
        if path.name == "cycle.json":
            raise _Crash
        write(path, content)

    write = cycles.write_json
    patch.setattr(cycles, "write_json", failing)


def _crash_at_the_end(patch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any) -> dict[str, Any]:
        raise _Crash

    patch.setattr(finish, "measure", failing)


@pytest.mark.parametrize(
    "crash", [_crash_in_training, _crash_at_dev, _crash_between_line_and_mark, _crash_at_the_end]
)
def test_a_crash_changes_no_figure(make, crash, finished_run: Finished, monkeypatch, tmp_path: Path) -> None:
    recipe = make(*TWO_CYCLES)
    with monkeypatch.context() as patch:
        crash(patch)
        with pytest.raises(_Crash):
            fit(recipe, QUIET)
    final = fit(recipe, QUIET, resume=True)
    assert metrics_of(final) == metrics_of(finished_run[1])
    assert final["teacher"] == finished_run[1]["teacher"]
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_no_figure(
    make, spawn, recipe_file: Path, finished_run: Finished, tmp_path: Path
) -> None:
    """A whole run is timed first, then killed at moments drawn over that time, then resumed until it ends."""
    arguments = ("fit", "--recipe", recipe_file, "--quiet", *TWO_CYCLES)
    started = time.monotonic()
    assert spawn(*arguments, f"run.folder={tmp_path}/timed").wait(300) == 0
    seconds = time.monotonic() - started
    rng = random.Random(7)
    for attempt in range(6):
        folder = tmp_path / f"killed{attempt}"
        process = spawn(*arguments, f"run.folder={folder}", stdout=subprocess.DEVNULL)
        try:
            process.wait(seconds * (0.25 + 0.7 * rng.random()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        resumed = spawn(*arguments, "--resume", f"run.folder={folder}")
        _, said = resumed.communicate(timeout=300)
        assert resumed.returncode == 0, said
        final = RunFolder(folder).events()[-1]
        assert metrics_of(final) == metrics_of(finished_run[1])


@pytest.mark.slow
def test_the_whole_minilm_taught_by_gold_in_under_a_minute(make, minilm: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    final = fit(make(f"student.encoder.model={minilm}", "training.lr=2e-4"), QUIET)
    assert time.monotonic() - started < 60
    assert final["gain"]["p@1"]["low"] > 0.2
    assert math.isfinite(final["student"]["ndcg@5"])
