"""The teacher's work in parts: nothing lost, nothing asked twice, the budget held by all workers together."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmteach.curriculum.asked_parts import Asked, read_part, write_parts
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.spread import judge_on
from lmteach.curriculum.teacher_work import TeacherWork
from lmteach.engines.local import LocalEngine
from lmteach.engines.protocol import Sums, Work
from lmteach.engines.scratch import scratch_folder
from lmteach.engines.tally import Tally
from lmteach.errors import RunError
from lmteach.recipe.load import load_recipe
from lmteach.teaching.store import Store
from lmteach.tracking.console import Console
from lmteach.types import Judgement

TEACHER = """
from dataclasses import dataclass
from pathlib import Path
from lmteach.teaching.chance import chance
from lmteach.types import Usage, Verdict

class CountingTeacher:
    @dataclass
    class Config:
        log: str = ""
        prompt: str = "about"
        model: str = ""

    scope = "pair"
    identity = "counting"

    def __init__(self, config, resources):
        self.config = config

    def judge(self, batch):
        with Path(self.config.log).open("a") as file:
            file.writelines(f"{j.document}|{c}\\n" for j in batch for c in j.candidates)
        return [Verdict(tuple(chance(j.document, c) - 0.5 for c in j.candidates),
                        usage=Usage(10 * len(j.candidates))) for j in batch]

    def close(self):
        pass
"""


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    first = [
        Judgement("Fünf\n☃", ("a", "b"), "d1", "T", (3, 1), (0.1, 1 / 3)),
        Judgement("none", (), "d2"),
        Judgement("", ("a",), "d3", label_ids=(7,), student_scores=(-0.5,)),
    ]
    second = [Judgement("other", ("c",), "e1")]
    asked = [Asked("train", first), Asked("dev", second)]
    found: dict[str, list[Judgement]] = {}
    for path in write_parts(tmp_path, asked, n_workers=1):
        for split, rows in read_part(path).items():
            found.setdefault(split, []).extend(rows)
    assert found["dev"] == second
    assert sorted(found["train"], key=lambda judgement: judgement.document_id) == first


class Dying(LocalEngine):
    """An engine whose worker dies once at each part, when it has told of a number of things."""

    n_workers = 2

    def __init__(self, after: int) -> None:
        self.after = after

    @contextmanager
    def run(
        self, work: Work, parts: Sequence[Any], listen: Callable[[Sums], None]
    ) -> Iterator[Iterator[tuple[int, Any]]]:
        tally = Tally()

        def answers() -> Iterator[tuple[int, Any]]:
            for number, part in enumerate(parts):
                for attempt in (1, 2):
                    tally.begin(number)
                    left = [self.after if attempt == 1 else 10**9]

                    def tell(numbers: Any, number: int = number, left: list[int] = left) -> Sums:
                        if not left[0]:
                            raise KeyboardInterrupt
                        left[0] -= 1
                        return tally.add(number, numbers)

                    worker = work.open()
                    try:
                        yield number, worker.do(part, tell)
                        break
                    except KeyboardInterrupt:
                        continue
                    finally:
                        worker.close()

        yield answers()
        listen(tally.sums())


@pytest.fixture
def context(
    desk_recipe: Mapping[str, Any], own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunContext]:
    """A recipe with the counting teacher, its store open."""
    (tmp_path / "counting.py").write_text(TEACHER)
    import yaml

    teacher = {"name": f"{tmp_path}/counting.py:CountingTeacher", "log": str(tmp_path / "log")}
    run = {"folder": str(tmp_path / "run"), "store": str(tmp_path / "store.sqlite")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**desk_recipe, "teacher": teacher, "run": run}))
    recipe = load_recipe(str(tmp_path / "recipe.yaml")).recipe
    with Store.open(recipe.run.store) as store:
        yield open_context(recipe, Console(quiet=True), store=store)


def judgements(n: int, k: int = 3, start: int = 0) -> list[Judgement]:
    return [Judgement(f"d{i}", tuple("abcdefg"[:k]), f"d{i}") for i in range(start, start + n)]


def asked_pairs(tmp_path: Path) -> Counter[str]:
    log = tmp_path / "log"
    return Counter(log.read_text().splitlines() if log.is_file() else [])


def n_kept(context: RunContext) -> int:
    assert context.store is not None
    return sum(stats.verdicts for stats in context.store.stats())


def test_all_is_asked_once_and_then_comes_from_the_store(context: RunContext, tmp_path: Path) -> None:
    asked = [Asked("train", judgements(300)), Asked("dev", judgements(60, start=280))]  # 20 of train again
    train, dev = judge_on(LocalEngine(), context, asked)
    pairs = asked_pairs(tmp_path)
    assert len(pairs) == pairs.total() == n_kept(context) == 340 * 3
    assert (train[0].made, train[0].from_store, train[0].usage.prompt_tokens) == (900, 0, 9000)
    assert (dev[0].made, dev[0].from_store) == (120, 60)
    assert (train[1], dev[1]) == ("", "")
    train, dev = judge_on(LocalEngine(), context, asked)
    assert (train[0].made, train[0].from_store, dev[0].made, dev[0].from_store) == (0, 900, 0, 180)
    assert asked_pairs(tmp_path) == pairs


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5])
def test_what_a_dead_worker_handed_in_is_counted_once(
    context: RunContext, tmp_path: Path, after: int
) -> None:
    ((counted, _),) = judge_on(Dying(after), context, [Asked("train", judgements(400))])
    assert n_kept(context) == 1200
    assert counted.made + counted.from_store == 1200
    pairs = asked_pairs(tmp_path)
    assert max(pairs.values()) == 1, "what was in the store was not asked again"
    # A worker tells what a batch cost, then what became of its documents; killed in between, it has told too little.
    n_untold = 8 * {0: 0, 1: 16 * 3, 2: 0, 3: 32 * 3, 4: 0, 5: 2 * 3}[after]
    assert counted.from_store == n_untold
    assert counted.usage.prompt_tokens == 10 * counted.made


def test_the_cap_on_judgements_is_exact_and_in_order(context: RunContext, tmp_path: Path) -> None:
    context.budget.judgements = 100
    asked = [Asked("train", judgements(50)), Asked("dev", judgements(10, k=1, start=100))]
    train, dev = judge_on(Dying(10**6), context, asked)
    assert (train[0].made, train[1]) == (99, "budget.judgements = 100")
    assert (dev[0].made, dev[1]) == (1, "budget.judgements = 100")
    assert {pair.partition("|")[0] for pair in asked_pairs(tmp_path)} == {f"d{i}" for i in [*range(33), 100]}


def test_past_the_cap_the_store_still_answers(context: RunContext, tmp_path: Path) -> None:
    judge_on(LocalEngine(), context, [Asked("train", judgements(10, start=40))])
    context.budget.judgements = 30
    ((counted, stopped),) = judge_on(LocalEngine(), context, [Asked("train", judgements(50))])
    assert (counted.made, counted.from_store, stopped) == (30, 30, "budget.judgements = 30")


def test_twins_of_what_the_cap_leaves_out_are_left_out_too(context: RunContext, tmp_path: Path) -> None:
    context.budget.judgements = 4
    twins = [*judgements(3), *judgements(3), *judgements(3)]
    ((counted, _),) = judge_on(LocalEngine(), context, [Asked("train", twins)])
    assert (counted.made, counted.from_store) == (3, 6)
    assert set(asked_pairs(tmp_path)) == {"d0|a", "d0|b", "d0|c"}


def test_caps_on_what_things_cost_may_be_passed_by_a_batch(context: RunContext, tmp_path: Path) -> None:
    context.budget.tokens = 1000  # 100 pairs
    ((counted, stopped),) = judge_on(LocalEngine(), context, [Asked("train", judgements(300))])
    assert stopped == "budget.tokens = 1000"
    assert 90 <= counted.made <= 100 + 16 * 3
    assert n_kept(context) == counted.made


def test_hours_go_by_for_all_workers_together(context: RunContext) -> None:
    context.budget.hours = 1e-9
    ((counted, stopped),) = judge_on(LocalEngine(), context, [Asked("train", judgements(100))])
    assert (counted.made, stopped) == (0, "budget.hours = 1e-09")


def test_machines_cannot_share_a_file(context: RunContext) -> None:
    engine = LocalEngine()
    engine.n_machines = 2
    with pytest.raises(RunError, match="PostgreSQL"):
        judge_on(engine, context, [Asked("train", judgements(1))])


def test_a_worker_whose_teacher_is_another_one_is_refused(context: RunContext) -> None:
    with pytest.raises(RunError, match="'counting', which is another one in the store than 'counted'"):
        TeacherWork(context.recipe, context.budget, "counted").open()
    TeacherWork(context.recipe, context.budget, "counting").open().close()


def test_a_folder_goes_with_the_work_and_with_the_next(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "x-") as first:
        os.utime(first, (0, 0))
        left = tmp_path / "x-left"
        left.mkdir()
        young = tmp_path / "x-young"
        young.mkdir()
        other = tmp_path / "y-other"
        other.mkdir()
        for folder in (left, other):
            os.utime(folder, (time.time() - 1e4,) * 2)
        with scratch_folder(tmp_path, "x-") as second:
            assert {p.name for p in tmp_path.iterdir()} == {first.name, second.name, "x-young", "y-other"}
    assert {p.name for p in tmp_path.iterdir()} == {"x-young", "y-other"}
