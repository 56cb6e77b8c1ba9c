"""The verb `plan`, run as a user runs it: what is still to be judged, and what that costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmteach.corpus.catalog import CATALOG
from lmteach.recipe.layers import shipped_recipes
from lmteach.recipe.load import load_recipe
from lmteach.teaching.store import Store

Call = Callable[..., tuple[int, str, str]]


def planned(call: Call, bench: Any, *arguments: object) -> dict[str, Any]:
    """Plan the bench's recipe; return what --json holds."""
    file = bench.folder / "plan.json"
    status, _, err = call("plan", "--recipe", bench.recipe, "--quiet", "--json", file, *arguments)
    assert status == 0, err
    return dict(json.loads(file.read_text()))


def stage(plan: dict[str, Any], cycle: int, split: str) -> dict[str, Any]:
    return next(s for s in plan["stages"] if (s["cycle"], s["split"]) == (cycle, split))


@pytest.mark.parametrize("path", shipped_recipes(), ids=lambda path: path.stem)
def test_every_shipped_recipe_plans_without_its_data(
    call: Call, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMTEACH_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, out, err = call(
        "plan", "--recipe", path.name, "--quiet", "--tflops", "100", "--json", "plan.json"
    )
    assert status == 0, err
    recipe, plan = load_recipe(path.name).recipe, json.loads(Path("plan.json").read_text())
    known = CATALOG[recipe.corpus.name]
    if known.layouts:
        assert plan["sizes"]["labels"] == known.n_labels
        assert f"{known.n_labels:,} labels (by the catalogue)" in out
        assert f"The data set {known.name} is not there. Missing:" in out
        assert f"lmteach data {known.name} --from ARCHIVE" in out
    if recipe.supervision == "gold" and recipe.student.kind == "classifier":
        assert plan["stages"] == []
        assert "no teacher is asked" in out
        return
    train = stage(plan, 0, "train")
    n_parts = len(plan["first"])
    candidates, documents = recipe.search.n_judged, plan["sizes"]["train"]
    if recipe.student.kind == "classifier":  # all classes, of the documents that the curriculum takes
        candidates = plan["sizes"]["labels"]
        documents = min(documents, recipe.curriculum.get("n_documents") or documents)
        assert "next 1,000" in out
    assert train["n_pairs"] == documents * candidates * n_parts
    assert train["exact"], "an empty store answers nothing"
    assert all(part["tokens"] for part in plan["first"] if "transformers" in part["teacher"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.json"], "a plan leaves nothing behind"


def test_judgements_of_all_cycles(call: Call, bench: Any) -> None:
    plan = planned(call, bench, "curriculum.cycles=3", "curriculum.n_documents=40")
    assert [s["n_documents"] for s in plan["stages"]] == [40, 20] * 3
    assert [s["n_pairs"] for s in plan["stages"]] == [200, 40] * 3
    assert [s["exact"] for s in plan["stages"]] == [True, False, False, False, False, False]
    _, out, _ = call("plan", "--recipe", bench.recipe, "--quiet", "curriculum.cycles=3")
    rows = [line.split() for line in out.splitlines()]
    assert ["cycle", "0", "train", "100", "500", "0", "500"] in rows
    assert ["all", "cycles", "360", "1,620", ">=", "0", "<=", "1,620"] in rows
    assert not bench.asked()
    assert not bench.store.exists()


def test_members_are_counted_each(call: Call, bench: Any) -> None:
    members = "[{name: random}, {name: cascade, cheap: {name: random}, strong: {name: oracle}}]"
    plan = planned(call, bench, f"teacher={{name: ensemble, members: {members}}}")
    assert [part["teacher"] for part in plan["first"]] == ["random", "random", "oracle"]
    assert stage(plan, 0, "train")["n_pairs"] == 3 * 500


def test_the_store_is_taken_off(call: Call, bench: Any) -> None:
    assert call("annotate", "--recipe", bench.recipe, "--quiet", "budget.judgements=200")[0] == 0
    blind = stage(planned(call, bench), 0, "train")
    assert (blind["n_to_make"], blind["exact"]) == (500, False), (
        "which pairs will be asked for is not known yet"
    )
    seen = stage(planned(call, bench, "--shortlist"), 0, "train")
    assert (seen["n_to_make"], seen["n_documents_to_read"], seen["exact"]) == (300, 60, True)
    other = stage(planned(call, bench, "--shortlist", "teacher.noise=0.3"), 0, "train")
    assert other["n_to_make"] == 500, "another teacher's verdicts do not count"
    assert stage(planned(call, bench, "teacher.noise=0.3"), 0, "train")["exact"]


def test_a_run_folder_says_exactly_what_is_left(call: Call, bench: Any, taught: Any) -> None:
    done = planned(call, taught)
    assert [s["n_to_make"] for s in done["stages"]] == [0, 0]
    assert all(s["exact"] for s in done["stages"])
    (taught.run / "cycles" / "00").joinpath("shortlist.npz").stat()
    # Another teacher on the same candidates: the folder's shortlist, the store's verdicts.
    with Store.open(taught.store) as store:
        n_before = sum(s.verdicts for s in store.stats())
    changed = stage(planned(call, taught, "teacher.noise=0.5"), 0, "train")
    assert (changed["n_to_make"], changed["exact"]) == (500, True)
    # Another student finds other candidates.
    deeper = stage(planned(call, taught, "student.encoder.search_length=9"), 0, "train")
    assert (deeper["n_to_make"], deeper["exact"]) == (500, False)
    with Store.open(taught.store) as store:
        assert sum(s.verdicts for s in store.stats()) == n_before, "a plan judges nothing"


def test_a_probe_is_part_of_the_work(call: Call, bench: Any) -> None:
    plan = planned(call, bench, "--probe", "4")
    probed = set(bench.asked())
    assert len(bench.asked()) == len(probed) == 25, "one document to load the teacher, four to time it"
    assert plan["first"][0]["seconds"] >= 0
    assert "a probe of 20 judgements" in plan["first"][0]["seconds_how"]
    assert stage(planned(call, bench, "--shortlist"), 0, "train")["n_to_make"] == 475
    assert call("fit", "--recipe", bench.recipe, "--quiet")[0] == 0
    assert len(bench.asked()) == len(set(bench.asked())), "fit does not ask again"
    assert planned(call, bench, "--probe")["first"][0]["seconds_how"].startswith("not"), (
        "nothing left to time"
    )


def test_money_by_tokens_and_by_the_hour(call: Call, bench: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("dated: 2030-01-01\nmodels:\n  wise-1: {input: 100, output: 1000}\n")
    remote = ["teacher.model=wise-1", "teacher.prompt=about"]
    part = planned(call, bench, *remote, "--prices", prices)["first"][0]
    assert part["usd"] == pytest.approx((part["tokens"] * 100 + 540 * 1000) / 1e6, abs=0.001)
    assert "2030-01-01" in part["usd_how"]
    unknown = planned(call, bench, *remote)["first"][0]
    assert unknown["usd"] is None
    assert "--usd-per-hour or --prices" in unknown["usd_how"]
    timed = planned(call, bench, *remote, "--probe", "2", "--usd-per-hour", "36")["at_most"][0]
    assert timed["usd"] == pytest.approx(timed["seconds"] / 100)


def test_the_budget_and_the_disk_are_shown(call: Call, bench: Any, minilm1: Path) -> None:
    status, out, _ = call(
        "plan", "--recipe", bench.recipe, "--quiet", "budget.judgements=200", "budget.hours=8"
    )
    assert status == 0
    assert "labelling stops at budget.judgements = 200, budget.hours = 8" in out
    plan = planned(call, bench)
    weights = (minilm1 / "model.safetensors").stat().st_size
    assert plan["disk"]["students"] == 2 * weights
    assert plan["disk"]["label_vectors"] == 12 * 384 * 4


def test_the_disk_is_about_what_a_run_takes(call: Call, taught: Any, bench: Any) -> None:
    disk = planned(call, bench)["disk"]
    students = [taught.run / "student", taught.run / "cycles" / "00" / "student"]
    weights = sum(p.stat().st_size for s in students for p in s.glob("model.safetensors"))
    assert disk["students"] == pytest.approx(weights, rel=0.02)
    arrays = sum(p.stat().st_size for p in (taught.run / "cycles" / "00").glob("*shortlist.npz"))
    arrays += sum(p.stat().st_size for p in (taught.run / "cycles" / "00").glob("*verdicts.npz"))
    assert 0.5 * arrays < disk["shortlists"] < arrays  # small files are mostly headers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "lmtx_eurlex4"], ["lmtx_eurlex4k"]),
        (["--probe", "0"], ["--probe is 0; it must be 1 or more"]),
        (["--sample", "0"], ["--sample is 0"]),
        (["--tflops", "nan"], ["--tflops is nan"]),
        (["--prices", "nowhere.yaml"], ["nowhere.yaml", "price table cannot be read"]),
        (["corpus.path=nowhere"], ["nowhere"]),
        (["corpus.n_dev=120"], ["corpus.n_dev"]),
        (["search.n_judged=13"], ["search.n_judged = 13 is more than search.n_kept"]),
        (["teacher={name: transformers, prompt: abuot}"], ["'abuot'", "'about'"]),
        (["teacher.nois=0.2"], ["'nois'", "'noise'"]),
    ],
)
def test_mistakes_are_named(call: Call, bench: Any, arguments: list[str], said: list[str]) -> None:
    given = arguments if "--recipe" in arguments else ["--recipe", bench.recipe, *arguments]
    status, out, err = call("plan", *given)
    assert status == 1
    assert not out
    assert all(text in err for text in said), err


def test_a_store_that_is_none_is_a_note(call: Call, bench: Any) -> None:
    bench.store.write_text("no database")
    status, out, _ = call("plan", "--recipe", bench.recipe, "--quiet")
    assert status == 0
    assert "note: The store could not be looked into" in out
    assert "<= 500" in out


def test_a_remote_teacher_is_planned_without_torch(bench: Any) -> None:
    script = (
        "import sys\nfrom lmteach.cli.main import main\n"
        f"status = main(['plan', '--recipe', {str(bench.recipe)!r}, '--quiet'])\n"
        "print(status, [m for m in ('torch', 'transformers', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_verbs_files_import_nothing_heavy() -> None:
    script = (
        "import sys, lmteach.cli.plan, lmteach.cli.annotate, lmteach.cli.audit\n"
        "print([m for m in ('numpy', 'torch', 'sqlalchemy', 'omegaconf', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_plan_of_a_real_teacher_comes_true(call: Call, tmp_path: Path) -> None:
    """SmolLM2 on 40 docstrings: the tokens planned are those that the teacher then reads."""
    run = [f"run.folder={tmp_path / 'run'}", f"run.store={tmp_path / 'store.sqlite'}"]
    small = ["--recipe", "lmtx_quickstart", *run, "corpus.n_train=40", "corpus.n_dev=10", "search.n_judged=5"]
    small += ["warmup.teacher={}", "dev.n_judged=5", "curriculum.cycles=1"]
    file = tmp_path / "plan.json"
    status, out, err = call("plan", *small, "--shortlist", "--quiet", "--json", file)
    assert status == 0, err
    (part,) = json.loads(file.read_text())["first"]
    status, out, err = call("annotate", *small, "--quiet")
    assert status == 0, err
    with Store.open(tmp_path / "store.sqlite") as store:
        (stats,) = store.stats()
    assert stats.verdicts == 250
    assert part["tokens"] == pytest.approx(stats.usage.prompt_tokens, rel=0.15)
    assert part["seconds"] == pytest.approx(stats.usage.seconds, rel=20), "the order of magnitude"
    status, out, err = call(
        "audit", *small, "--documents", 40, "--prompt", "likelihood-chat", "--sample", 8, "--quiet"
    )
    assert status == 0, err
    assert "prompt likelihood-chat" in out
