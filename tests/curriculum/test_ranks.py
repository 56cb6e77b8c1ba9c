"""Ranks of a run: calls in step, news of a lost one, a teacher's work divided. Ranks are threads with real sockets."""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import PrefixStore, TCPStore

from lmteach.curriculum import watch as watching
from lmteach.curriculum.class_scores import evaluate_classifier
from lmteach.curriculum.context import open_context
from lmteach.curriculum.evaluate import rank_labels
from lmteach.curriculum.joining import find_place
from lmteach.curriculum.judging import ask
from lmteach.curriculum.ranks import SOLO, Ranks
from lmteach.curriculum.sharded import SpentPart, encode_in_parts, restore_spent
from lmteach.curriculum.watch import Listener, connect
from lmteach.errors import RecipeError, RunError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe, TrainerSection
from lmteach.students.open_classifier import new_student
from lmteach.teaching.cost import Budget, Counters, Spent
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import write_json
from lmteach.types import Judgement, Usage, Verdict


@pytest.fixture
def meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Ranks]]:
    """Give a function that makes n ranks that know each other."""
    monkeypatch.setattr(watching, "GRACE", 3600.0)  # this process is not to be ended
    hosts = []

    def make(n: int) -> list[Ranks]:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        hosts.append(store)
        clients = [
            TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False) for _ in range(n)
        ]
        listener = Listener("127.0.0.1")
        with ThreadPoolExecutor() as pool:
            first = pool.submit(listener.accept_all, n, lambda rank: "")
            others = [
                connect("127.0.0.1", listener.port, listener.token, r, "process 1") for r in range(1, n)
            ]
            watches = [first.result(10), *others]
        return [Ranks(r, n, tmp_path / "scratch", PrefixStore("t", clients[r]), watches[r]) for r in range(n)]

    return make


def together(ranks: list[Ranks], do: Callable[[Ranks], Any]) -> list[Any]:
    """Run a function on all ranks at once; return what each made, or raise."""
    with ThreadPoolExecutor(len(ranks)) as pool:
        return [future.result(30) for future in [pool.submit(do, r) for r in ranks]]


# Calls


def test_all_know_what_the_first_says_and_what_each_has(meet) -> None:
    def do(rank: Ranks) -> Any:
        time.sleep(0.05 * (2 - rank.rank))
        return rank.share({"from": rank.rank}), rank.collect([rank.rank, 0.1]), rank.share(None)

    assert together(meet(3), do) == [({"from": 0}, [[0, 0.1], [1, 0.1], [2, 0.1]], None)] * 3


def test_the_first_goes_ahead(meet, tmp_path: Path) -> None:
    path, order = tmp_path / "made", []

    def do(rank: Ranks) -> str:
        def make() -> str:
            order.append(rank.rank)
            if not path.exists():
                time.sleep(0.2)
                path.write_text(f"by {rank.rank}")
            return path.read_text()

        return rank.first_then_rest(make)

    assert together(meet(3), do) == ["by 0"] * 3
    assert order[0] == 0


def test_one_rank_alone_waits_for_nobody() -> None:
    assert SOLO.share(3) == 3
    assert SOLO.collect("a") == ["a"]
    SOLO.barrier()
    assert SOLO.first_then_rest(lambda: 5) == 5


# Losses


def _cut(rank: Ranks) -> None:
    """End a rank's connections as the kernel does when its process dies."""
    rank.watch._closed = True  # type: ignore[union-attr]  # a dead process's threads say nothing
    for line in rank.watch._lines.values():  # type: ignore[union-attr]
        line.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("dies", [0, 1, 2])
def test_a_rank_that_dies_ends_the_others_and_is_named(meet, dies: int) -> None:
    ranks = meet(3)

    def do(rank: Ranks) -> str:
        if rank.rank == dies:
            time.sleep(0.3)
            _cut(rank)
            return ""
        started = time.monotonic()
        with pytest.raises(RunError) as caught:
            rank.barrier()
        assert time.monotonic() - started < 5
        return str(caught.value)

    said = together(ranks, do)
    for rank in {0, 1, 2} - {dies}:
        assert said[rank].startswith(f"Rank {dies} (process ")
        assert "died." in said[rank]
        assert "--resume" in said[rank]


def test_a_rank_that_fails_says_why_to_all(meet) -> None:
    def do(rank: Ranks) -> str:
        if rank.rank == 2:
            rank.watch.leave(failed="TeacherError: the server is gone")  # type: ignore[union-attr]
            return ""
        with pytest.raises(RunError) as caught:
            rank.barrier()
        return caught.value.what

    said = together(meet(3), do)
    assert all("Rank 2" in text and "ended: TeacherError: the server is gone" in text for text in said[:2])


def test_ranks_that_part_in_peace_leave_no_news(meet) -> None:
    ranks = meet(3)

    def do(rank: Ranks) -> None:
        rank.barrier()
        rank.watch.leave()  # type: ignore[union-attr]

    together(ranks, do)
    time.sleep(0.3)
    assert [rank.watch.lost for rank in ranks] == [None] * 3  # type: ignore[union-attr]


def test_a_stranger_is_not_let_in() -> None:
    listener = Listener("127.0.0.1")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(listener.accept_all, 2, lambda rank: "")
        with socket.create_connection(("127.0.0.1", listener.port)) as stranger:
            stranger.sendall(b'{"token": "guess", "rank": 1, "process": "x"}\n')
            assert stranger.recv(1) == b"", "the connection is closed"
        friend = connect("127.0.0.1", listener.port, listener.token, 1, "process 1")
        assert first.result(10).lost is None
    friend.leave()


def test_a_rank_that_ends_before_it_came_is_not_waited_for() -> None:
    listener = Listener("127.0.0.1")
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"ranks \[1, 2\] .*2: 'exit status 1'"):
        listener.accept_all(3, lambda rank: "exit status 1" if rank == 2 else "")
    assert time.monotonic() - started < 5


# A teacher's work


class Lengths:
    """Scores a pair by the lengths of its texts; notes what it was asked."""

    scope, identity = "pair", "lengths"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def judge(self, batch: list[Judgement]) -> list[Verdict]:
        self.asked += [(j.document, c) for j in batch for c in j.candidates]
        return [
            Verdict(
                tuple(float(len(j.document) - 2 * len(c)) for c in j.candidates),
                usage=Usage(prompt_tokens=len(j.candidates), usd=0.5),
            )
            for j in batch
        ]

    def close(self) -> None:
        pass


def judgements() -> list[Judgement]:
    texts = [f"text {'x' * (i % 5)} {i % 17}" for i in range(40)]  # some are equal
    return [Judgement(text, (*"ab"[: 1 + i % 2], "ccc")) for i, text in enumerate(texts)]


def context_of(rank: Ranks, store: Store, teacher: Lengths, folder: Path, budget: Budget) -> Any:
    context = SimpleNamespace(
        ranks=rank,
        console=Console(quiet=True),
        budget=budget,
        counters=Counters(),
        spent_path=folder / "spent.json",
        recipe=Recipe(),
    )
    context.save_spent = lambda: (
        rank.is_first and write_json(context.spent_path, context.budget.spent.as_dict())
    )
    context.stored = StoredTeacher(teacher, store, context.counters)
    return context


@pytest.mark.parametrize("n", [2, 3])
def test_ranks_together_get_what_one_would(meet, tmp_path: Path, n: int) -> None:
    alone = Lengths()
    with Store.open(tmp_path / "alone.sqlite") as store:
        single = context_of(SOLO, store, alone, tmp_path, Budget())
        expected = ask(single, single.stored, judgements())
    teachers = [Lengths() for _ in range(n)]

    def do(rank: Ranks) -> Any:
        with Store.open(tmp_path / "shared.sqlite") as store:
            context = context_of(rank, store, teachers[rank.rank], tmp_path, Budget())
            return ask(context, context.stored, judgements()), context

    for said, context in together(meet(n), do):
        np.testing.assert_array_equal(said.scores_nk, expected.scores_nk)
        np.testing.assert_array_equal(said.judged_nk, expected.judged_nk)
        assert (said.counters.made, said.counters.from_store) == (
            expected.counters.made,
            expected.counters.from_store,
        )
        assert context.counters.made == single.counters.made
        assert context.counters.usage.usd == pytest.approx(single.counters.usage.usd)
        assert context.budget.spent.judgements == single.budget.spent.judgements
    asked = [pair for teacher in teachers for pair in teacher.asked]
    assert sorted(asked) == sorted(alone.asked), "each pair once, by one rank"
    assert all(teacher.asked for teacher in teachers)
    assert not list((tmp_path / "scratch").iterdir())
    assert restore_spent(tmp_path / "spent.json").judgements == single.budget.spent.judgements


def test_a_cap_holds_over_all_ranks(meet, tmp_path: Path) -> None:
    def do(rank: Ranks) -> Any:
        with Store.open(tmp_path / "shared.sqlite") as store:
            budget = Budget(judgements=30, spent=Spent(judgements=4))
            context = context_of(rank, store, Lengths(), tmp_path, budget)
            return ask(context, context.stored, judgements()), context.budget.spent.judgements

    found = together(meet(2), do)
    for said, spent in found:
        assert said.stopped_by == "budget.judgements = 30"
        assert 26 <= spent <= 30
        assert said.counters.made == spent - 4
    assert found[0][1] == found[1][1]


def test_what_ranks_spent_before_a_kill_is_not_forgotten(tmp_path: Path) -> None:
    path, before = tmp_path / "spent.json", Spent(judgements=10, tokens=5, usd=1.0, hours=0.5)
    write_json(path, before.as_dict())
    SpentPart(path, 0, before).save(Spent(3, 2, 0.5, 0.25))
    SpentPart(path, 1, before).save(Spent(4, 1, 0.25, 0.75))
    SpentPart(path, 2, Spent(judgements=7)).save(
        Spent(100, 100, 100.0, 100.0)
    )  # of a stage that is in already
    assert restore_spent(path) == Spent(17, 8, 1.75, 1.25)
    assert restore_spent(tmp_path / "none" / "spent.json") == Spent()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_vectors_of_all_ranks_come_together_on_the_first(meet, n: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((11, 4), dtype=np.float32)
    asked = []

    def do(rank: Ranks) -> Any:
        def encode(rows: slice) -> Any:
            asked.append((rows.start, rows.stop))
            return vectors[rows]

        return encode_in_parts(rank, 11, encode, lambda dim: np.empty((11, dim), np.float32))

    ranks = meet(n) if n > 1 else [SOLO]
    found = together(ranks, do)
    np.testing.assert_array_equal(found[0], vectors)
    assert sorted(i for start, stop in asked for i in range(start, stop)) == list(range(11))
    assert n == 1 or not list(ranks[0].scratch.glob("*"))


@pytest.mark.parametrize("n", [2, 3])
def test_ranks_measure_a_student_as_one_would(meet, recipe_file: Path, own_cache: Path, n: int) -> None:
    """The first has what one process would have found; the others nothing."""
    recipe = load_recipe(str(recipe_file)).recipe
    contexts = [open_context(recipe, Console(quiet=True)) for _ in range(n + 1)]
    alone, *others = [(context, context.new_encoder()) for context in contexts]
    expected_ids, expected = rank_labels(*alone, alone[0].corpus.test, 5)

    def do(rank: Ranks) -> Any:
        context, encoder = others[rank.rank]
        context.ranks = rank
        return rank_labels(context, encoder, context.corpus.test, 5)

    (ids, scores), *rest = together(meet(n), do)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_array_equal(ids, expected_ids)
    assert [len(found) for pair in rest for found in pair] == [0] * 2 * (n - 1)


@pytest.mark.parametrize("n", [2, 3])
def test_ranks_measure_a_classifier_as_one_would(meet, recipe_file: Path, own_cache: Path, n: int) -> None:
    keys = ["student.kind=classifier", "student.multilabel=true", "curriculum={name: once}"]
    recipe = load_recipe(str(recipe_file), keys).recipe
    contexts = [open_context(recipe, Console(quiet=True)) for _ in range(n + 1)]
    torch.manual_seed(0)
    students = [new_student(recipe, contexts[0].corpus.labels.names)]
    students += [copy.deepcopy(students[0]) for _ in range(n)]
    expected = evaluate_classifier(contexts[-1], students[-1])

    def do(rank: Ranks) -> Any:
        contexts[rank.rank].ranks = rank
        return evaluate_classifier(contexts[rank.rank], students[rank.rank])

    first, *rest = together(meet(n), do)
    assert first["student"] == pytest.approx(expected["student"], abs=1e-6)
    assert first["classes"] == expected["classes"]
    assert rest == [{}] * (n - 1)


# Places


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    return put


def test_torchrun_gives_places(environment) -> None:
    assert find_place(TrainerSection(devices=2)) is None
    environment(RANK="3", LOCAL_RANK="1", WORLD_SIZE="4", MASTER_ADDR="node7", MASTER_PORT="29500")
    place = find_place(TrainerSection(devices=2, num_nodes=2))
    assert place is not None
    assert (place.rank, place.local_rank, place.n, place.address, place.port) == (3, 1, 4, "node7", 29500)
    with pytest.raises(RecipeError, match="4 processes were launched, but the recipe is for 1 devices"):
        find_place(TrainerSection())


def test_slurm_gives_places(environment) -> None:
    environment(
        SLURM_JOB_ID="81234",
        SLURM_NTASKS="4",
        SLURM_NTASKS_PER_NODE="2",
        SLURM_PROCID="2",
        SLURM_LOCALID="0",
        SLURM_NODEID="1",
        SLURM_JOB_NODELIST="gpu[07-08]",
        SLURM_NODELIST="gpu[07-08]",
    )
    assert find_place(TrainerSection()) is None, "a step of one process inside a larger job"
    place = find_place(TrainerSection(devices=2, num_nodes=2))
    assert place is not None
    assert (place.rank, place.local_rank, place.n, place.address) == (2, 0, 4, "gpu07")
    assert place.port == 15000 + 1234


def test_several_nodes_need_a_launcher(environment) -> None:
    with pytest.raises(RecipeError, match="torchrun --nnodes=2 --nproc-per-node=4"):
        find_place(TrainerSection(devices=4, num_nodes=2))


def test_threads_are_not_left_behind(meet) -> None:
    """A watch's threads end with its connections, so that a program may make many runs."""
    before = threading.active_count()
    for _ in range(3):
        together(meet(2), lambda rank: (rank.barrier(), rank.watch.leave()))
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= before
