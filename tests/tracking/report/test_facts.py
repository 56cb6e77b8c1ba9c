"""The numbers behind a report, each against an independent count."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.corpus.gold import Gold
from lmteach.curriculum.judged_cycle import open_cycle
from lmteach.errors import RunError
from lmteach.metrics.ranking import find_hits
from lmteach.search.shortlist import Shortlist
from lmteach.tracking.report.buckets import assign_buckets, split_by_frequency
from lmteach.tracking.report.charts import by_cycle, judgements_by_cycle
from lmteach.tracking.report.facts import RunFacts, gather
from lmteach.tracking.report.hardest import find_hardest
from lmteach.tracking.report.paper import all_tables, find_tables
from lmteach.tracking.report.several import pair_up, told_apart
from lmteach.tracking.report.teacher_facts import perfect_judge, shortlist_recall
from lmteach.tracking.run_folder import RunFolder
from lmteach.tracking.test_scores import FILE, TestScores

pytestmark = pytest.mark.usefixtures("own_cache")

Finished = tuple[Path, dict[str, Any]]


def make_gold(rows: list[list[int]]) -> Gold:
    indptr = np.cumsum([0] + [len(row) for row in rows]).astype(np.int64)
    return Gold(indptr, np.array([i for row in rows for i in sorted(row)], dtype=np.int64))


@pytest.fixture(scope="module")
def facts(finished_run: Finished, cache_folder: Path) -> RunFacts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        return gather(finished_run[0])


def test_students_are_those_of_the_final_line_in_order(facts: RunFacts, finished_run: Finished) -> None:
    _, final = finished_run
    assert list(facts.students) == ["untuned", "cycle 0", "cycle 1"]
    assert facts.chosen == final["chosen"]
    for name, metrics in facts.students.items():
        for metric, value in metrics.items():
            assert value.mean == final["by_name"][name][metric]
    low, high = final["intervals"]["cycle 1"]["p@1"]
    assert (facts.students["cycle 1"]["p@1"].low, facts.students["cycle 1"]["p@1"].high) == (low, high)


def test_the_chart_of_cycles_has_floor_ceiling_and_devs_own_points(
    facts: RunFacts, finished_run: Finished
) -> None:
    folder, final = finished_run
    chart = by_cycle(facts, "p@1")
    assert [point.name for point in chart.points] == ["untuned", "cycle 0", "cycle 1"]
    assert chart.floor == final["untuned"]["p@1"]
    events = RunFolder(folder).events()[:2]
    assert [point.dev_p1 for point in chart.points] == [None, *(event["dev_p1"] for event in events)]
    assert chart.ceiling == 1.0, "all 12 labels are judged, so a perfect judge is right everywhere"
    assert by_cycle(facts, "p@5").ceiling == pytest.approx(0.4), "two labels of five places"
    assert by_cycle(facts, "r@10").ceiling is None
    oracle = dataclasses.replace(facts, name="by gold")
    chart = by_cycle(facts, "r@10", oracle)
    assert chart.ceiling == final["student"]["r@10"]
    assert "by gold" in chart.source


def test_costs_add_up_and_savings_are_at_the_runs_own_price(facts: RunFacts, finished_run: Finished) -> None:
    _, final = finished_run
    assert facts.cost is not None
    assert (
        facts.cost.judgements
        == final["judgements"]
        == sum(made for _, made, _ in judgements_by_cycle(facts.cycles))
    )
    assert facts.cost.saved_usd is None, "an oracle costs nothing"


def test_savings(finished_run: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines[-1] |= {
        "judgements": 1000,
        "from_store": 500,
        "usd": 3.0,
        "prompt_tokens": 8000,
        "answer_tokens": 0,
    }
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cost = gather(folder, with_corpus=False).cost
    assert cost is not None
    assert cost.saved_usd == pytest.approx(1.5)
    assert cost.saved_tokens == pytest.approx(4000)
    assert cost.joules is None
    lines[-1] |= {"joules": 10.0, "stages": [{"joules": 5.0}, {}], "train_seconds": 7.0}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cost = gather(folder, with_corpus=False).cost
    assert cost is not None
    assert (cost.joules, cost.train_seconds) == (15.0, 7.0)


def test_shortlist_recall_against_counting(facts: RunFacts, finished_run: Finished) -> None:
    folder, _ = finished_run
    assert facts.teacher is not None
    from lmteach.corpus.load import load_corpus

    corpus = load_corpus(facts.recipe.corpus, facts.recipe.seed, Path.cwd())
    for number in (0, 1):
        shortlist = Shortlist.load(folder / f"cycles/{number:02d}/shortlist.npz")
        shares = []
        for k in range(1, 13):
            per_document = []
            for row, position in enumerate(shortlist.positions_q.tolist()):
                gold = set(corpus.train.gold.of(position).tolist())
                found = set(shortlist.label_ids_qk[row, :k].tolist())
                per_document.append(len(gold & found) / len(gold))
            shares.append(sum(per_document) / len(per_document))
        assert facts.teacher.recall_by_k[f"cycle {number}"] == pytest.approx(shares)
    assert facts.teacher.recall_by_k["cycle 1"][2] > facts.teacher.recall_by_k["cycle 0"][2], "it learned"


def test_the_teachers_yes_rate_by_place_is_golds_for_an_oracle(facts: RunFacts) -> None:
    assert facts.teacher is not None
    assert [row.rank for row in facts.teacher.ranks] == list(range(1, 13))
    for row in facts.teacher.ranks:
        assert row.yes.share == pytest.approx(row.gold)
    assert facts.teacher.gold is not None
    assert facts.teacher.gold.accuracy.mean == 1.0


def test_a_perfect_judge_is_bounded_by_what_was_judged(finished_run: Finished) -> None:
    cycle = open_cycle(finished_run[0] / "cycles/00", 0)
    assert cycle is not None
    n = len(cycle.shortlist)
    ids = np.tile(np.arange(12, dtype=np.int32), (n, 1))
    gold = make_gold([[0, 1, 11]] * (n // 2) + [[11]] * (n - n // 2))
    judged = np.zeros((n, 12), dtype=bool)
    judged[:, :4] = True
    verdicts = dataclasses.replace(cycle.verdicts, label_ids_nk=ids, judged_nk=judged, gold=gold)
    found = perfect_judge(dataclasses.replace(cycle, verdicts=verdicts), [1, 3])
    half = (n // 2) / n
    assert found == {1: pytest.approx(half), 3: pytest.approx(half * 2 / 3)}


def test_recall_of_documents_without_gold_is_left_out() -> None:
    shortlist = Shortlist(
        np.arange(3), np.array([[0, 1], [2, 3], [4, -1]], dtype=np.int32), np.zeros((3, 2), np.float32)
    )
    assert shortlist_recall(shortlist, make_gold([[0, 5], [], [4]])) == pytest.approx([0.75, 0.75])
    assert shortlist_recall(shortlist, make_gold([[], [], []])) == []


# Head, torso, tail


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_buckets_by_laying_all_occurrences_end_to_end(counts: list[int]) -> None:
    if not sum(counts):
        return
    found = assign_buckets(np.array(counts))
    total, passed = sum(counts), 0
    for label in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        share = passed / total
        expected = 2 if not counts[label] else 0 if share < 0.5 else 1 if share < 0.8 else 2
        # Sums of halves and fifths may fall on a bound by a rounding's breadth.
        assert found[label] == expected or min(abs(share - 0.5), abs(share - 0.8)) < 1e-9
        passed += counts[label]


def test_bucket_recall_against_counting(facts: RunFacts) -> None:
    scores = facts.scores
    assert scores is not None
    bucket_l = assign_buckets(scores.label_counts_l)
    for number, bucket in enumerate(split_by_frequency(scores)):
        for student, ids in scores.label_ids.items():
            n_found = n_gold = 0
            labels: set[int] = set()
            for row in range(scores.n_documents):
                gold = [i for i in scores.gold.of(row).tolist() if bucket_l[i] == number]
                n_gold += len(gold)
                hits = [i for i in gold if i in ids[row].tolist()]
                n_found += len(hits)
                labels |= set(hits)
            assert bucket.n_gold == n_gold
            assert bucket.recall[student] == pytest.approx(n_found / n_gold)
            present = {i for i in scores.gold.ids.tolist() if bucket_l[i] == number}
            assert bucket.found[student] == pytest.approx(len(labels) / len(present))
    assert sum(bucket.n_labels for bucket in facts.buckets) == 12
    assert sum(bucket.n_gold for bucket in facts.buckets) == len(scores.gold.ids)


def test_without_training_gold_there_are_no_buckets(facts: RunFacts) -> None:
    assert facts.scores is not None
    empty = dataclasses.replace(facts.scores, label_counts_l=np.zeros(0, dtype=np.int64))
    assert split_by_frequency(empty) == []


# Hardest documents


def test_the_hardest_are_the_worst_and_among_equals_the_surest(facts: RunFacts) -> None:
    scores = facts.scores
    assert scores is not None
    values = scores.values[scores.chosen]["ndcg@5"].numerators
    assert [d.value for d in facts.hardest] == pytest.approx(sorted(values)[:12])
    sure = [(d.value, -d.tags[0].score) for d in facts.hardest]
    assert sure == sorted(sure)


def test_a_hard_document_shows_its_own_text_tags_and_gold(facts: RunFacts) -> None:
    from lmteach.corpus.load import load_corpus

    corpus = load_corpus(facts.recipe.corpus, facts.recipe.seed, Path.cwd())
    assert corpus.test is not None
    corpus.test.unseal()
    scores = facts.scores
    assert scores is not None
    hits = find_hits(scores.label_ids[scores.chosen], scores.gold)
    for hard in facts.hardest:
        document = corpus.test[hard.row]
        assert (hard.id, hard.title, hard.text) == (document.id, document.title, document.text)
        assert document.labels is not None
        assert hard.gold == [corpus.labels.names[i] for i in document.labels]
        assert [tag.right for tag in hard.tags] == hits[hard.row, : len(hard.tags)].tolist()


def test_without_a_corpus_ids_stand_for_names(finished_run: Finished) -> None:
    found = find_hardest(TestScores.load(finished_run[0]), None, 3)
    assert all(tag.name.startswith("label ") for hard in found for tag in hard.tags)
    assert [hard.text for hard in found] == ["", "", ""]


# Runs that lack something


def test_a_run_without_its_corpus_still_reports(finished_run: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    recipe = (folder / "recipe.yaml").read_text()
    path = next(line for line in recipe.splitlines() if line.strip().startswith("path:"))
    (folder / "recipe.yaml").write_text(recipe.replace(path, f"  path: {tmp_path}/gone"))
    facts = gather(folder)
    assert any("Without the corpus" in note for note in facts.notes)
    assert facts.teacher is not None
    assert facts.teacher.gold is None
    assert facts.teacher.ranks
    assert facts.buckets, "they need no texts"


def test_a_changed_corpus_is_not_taken_for_the_runs(finished_run: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"corpus": "another"}))
    facts = gather(folder)
    assert any("has changed since" in note for note in facts.notes)
    assert facts.hardest[0].text == ""


def test_an_unfinished_run_shows_its_cycles(finished_run: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(lines[0] + "\n")
    (folder / FILE).unlink()
    facts = gather(folder)
    assert facts.students == {}
    assert len(facts.cycles) == 1
    assert facts.teacher is not None
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match="Nothing of this run is finished yet"):
        gather(folder)
    with pytest.raises(RunError, match="no run here"):
        gather(tmp_path)


# Several runs, published figures


def test_runs_are_paired_where_their_documents_are_the_same(facts: RunFacts) -> None:
    assert facts.scores is not None
    other = dataclasses.replace(
        facts, name="other", scores=dataclasses.replace(facts.scores, documents="else")
    )
    without = dataclasses.replace(facts, scores=None)
    same, apart, none = pair_up([facts, facts, other, without], resamples=20)
    assert same.found is not None
    assert all(row.difference == 0 for row in same.found.rows)
    assert apart.found is None
    assert "not the same ones" in apart.why
    assert none.found is None


def test_published_figures_are_shares_with_a_source() -> None:
    assert len(all_tables()) >= 6
    for table in all_tables():
        assert table.source
        assert table.rows
        for row in table.rows.values():
            assert row
            assert all(0 < value < 1 for value in row.values())
    [imdb] = find_tables("IMDb")
    assert imdb.rows["roberta-large, combined"]["accuracy"] == 0.9668
    assert [t.rows["MACLR"]["p@1"] for t in find_tables("lf_wikiseealso_320k")] == [0.1631, 0.163]
    assert find_tables("debtags") == []


def test_runs_of_one_name_are_told_apart_by_their_folders(facts: RunFacts) -> None:
    other = dataclasses.replace(facts, name="other")
    again = dataclasses.replace(facts, path=Path("runs/second"))
    assert told_apart([facts, other, again]) == ["desks (run)", "other", "desks (second)"]
