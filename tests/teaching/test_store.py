"""The store: nothing paid for is lost, doubled or mixed up, whoever writes and whatever dies."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import StoreError
from lmteach.teaching.records import Record, list_keys, pair_keys, split_usage
from lmteach.teaching.store import Store
from lmteach.teaching.store_connection import tables
from lmteach.types import Usage

texts = st.text(max_size=8)


def some_records(n: int, *, teacher: str = "t", score: float | None = 1.0, start: int = 0) -> list[Record]:
    return [
        Record(pair_keys(teacher, f"document {i}", ["c"])[0], teacher, score, usage=Usage(3, 1, 0.5, 0.001))
        for i in range(start, start + n)
    ]


class TestKeys:
    @given(st.lists(st.tuples(texts, texts, texts), min_size=2, max_size=2, unique=True))
    def test_different_questions_have_different_keys(self, asked: list[tuple[str, str, str]]) -> None:
        (a,), (b,) = (pair_keys(t, d, [c]) for t, d, c in asked)
        assert a != b

    def test_a_pair_key_depends_on_its_own_candidate_alone(self) -> None:
        assert pair_keys("t", "d", ["a", "b", "a"]) == [pair_keys("t", "d", [c])[0] for c in "aba"]
        assert len({*pair_keys("t", "d", ["a"]), *list_keys("t", "d", ["a"])}) == 2

    def test_a_list_key_depends_on_the_whole_ordered_list(self) -> None:
        lists = (["a", "b"], ["b", "a"], ["a", "b", "c"], ["ab"], ["a", "b", ""])
        keys = [key for candidates in lists for key in list_keys("t", "d", candidates)]
        assert len(set(keys)) == len(keys)
        assert list_keys("t", "d", ["a", "b"]) == list_keys("t", "d", ["a", "b"])

    def test_keys_never_change_between_versions(self) -> None:
        """A changed key function would throw away every store there is."""
        assert pair_keys("t", "d", ["c"])[0].hex() == PAIR_KEY
        assert list_keys("t", "d", ["c"])[0].hex() == LIST_KEY

    def test_lone_surrogates_have_keys(self) -> None:
        assert pair_keys("t", "\ud800", ["c"]) != pair_keys("t", "?", ["c"])


PAIR_KEY = "1abec04742c7920f4dc010cbefd003708f8b901cf546293f99912712c6ae931b"
LIST_KEY = "e0ccf0be96bf7b3858572657ce6d87e602147a99d65c4e6b5d7fd61f84157bed"


@given(
    st.integers(0, 1000),
    st.integers(0, 50),
    st.floats(0, 100),
    st.one_of(st.none(), st.floats(0, 9)),
    st.integers(1, 13),
)
def test_usage_shares_add_up(prompt: int, answer: int, usd: float, joules: float | None, n: int) -> None:
    total = Usage()
    for share in split_usage(Usage(prompt, answer, 1.5, usd, joules), n):
        total += share
    assert (total.prompt_tokens, total.answer_tokens) == (prompt, answer)
    assert total.usd == pytest.approx(usd)
    assert total.seconds == pytest.approx(1.5)
    assert total.joules is None if joules is None else total.joules == pytest.approx(joules)


class TestRecords:
    def test_what_is_put_is_got(self, store_url: str) -> None:
        records = [
            Record(
                pair_keys("t", "d", ["a"])[0], "t", -1.25, "no", Usage(7, 1, 0.5, 0.01, 3.5), None, 1e9, "r"
            ),
            Record(
                pair_keys("u", "d", ["a"])[0], "u", None, "wéll 😀", Usage(), '{"x": 1}', 2e9 + 0.000001, "s"
            ),
            Record(pair_keys("u", "d", ["b"])[0], "u", 1e-300, "", Usage(), None, 5.0, ""),
        ]
        with Store.open(store_url) as store:
            assert store.put_many(records) == 3
        with Store.open(store_url, create=False) as store:
            absent = pair_keys("t", "d", ["zzz"])
            assert store.get_many([*absent, *(r.key for r in records)]) == {r.key: r for r in records}
            assert store.get_many([]) == {}

    def test_the_first_answer_stays(self, store_url: str) -> None:
        with Store.open(store_url) as store:
            (first,) = some_records(1, score=1.0)
            (second,) = some_records(1, score=2.0)
            assert store.put_many([first]) == 1
            assert store.put_many([second, *some_records(1, start=5)]) == 1
            assert store.get_many([first.key])[first.key].score == 1.0
            assert store.put_many([]) == 0

    def test_batches_larger_than_a_query_may_be(self, store_url: str) -> None:
        records = some_records(2500)
        with Store.open(store_url) as store:
            assert store.put_many(records) == 2500
            found = store.get_many([r.key for r in records + records])
            assert set(found) == {r.key for r in records}
            assert sorted(r.key for r in store.records()) == sorted(found)

    def test_time_and_run_are_written_down(self, tmp_path: Path) -> None:
        before = time.time()
        with Store.open(tmp_path / "s.sqlite", run="cycle 3") as store:
            (record,) = some_records(1)
            store.put_many([record])
            kept = store.get_many([record.key])[record.key]
        assert kept.run == "cycle 3"
        assert before - 1e-3 <= kept.created_at <= time.time()

    def test_text_that_no_database_holds_is_mended(self, store_url: str) -> None:
        (record,) = some_records(1)
        with Store.open(store_url) as store:
            store.put_many([Record(record.key, "t", 1.0, raw="a\x00b\ud800c")])
            assert store.get_many([record.key])[record.key].raw == "a�b?c"

    def test_stats_by_teacher(self, store_url: str) -> None:
        with Store.open(store_url) as store:
            assert store.stats() == []
            store.put_many(some_records(5) + some_records(2, score=-1.0, start=10))
            store.put_many(some_records(3, score=None, start=20))
            store.put_many(some_records(1, teacher="other"))
            big, small = store.stats()
        assert (big.identity, big.verdicts, big.yes, big.unread) == ("t", 10, 5, 3)
        assert (big.usage.prompt_tokens, big.usage.answer_tokens) == (30, 10)
        assert big.usage.usd == pytest.approx(0.01)
        assert big.usage.joules is None
        assert (small.identity, small.verdicts) == ("other", 1)

    def test_prune_fits_every_condition(self, store_url: str) -> None:
        with Store.open(store_url) as store:
            old = [Record(r.key, "t", None, created_at=1000.0, run="a") for r in some_records(4)]
            new = [Record(r.key, "t", 1.0, created_at=2000.0, run="b") for r in some_records(3, start=4)]
            store.put_many(old + new + some_records(2, teacher="other"))
            assert store.prune(teacher="t", before=1500.0, dry_run=True) == 4
            assert store.prune(teacher="t", before=2500.0, run="b", unread=True) == 0
            assert store.prune(unread=True) == 4
            assert store.prune(teacher="other") == 2
            assert [s.verdicts for s in store.stats()] == [3]
            with pytest.raises(StoreError, match="Nothing says what to prune"):
                store.prune()


WRITER = """
import sys
from lmteach.teaching.records import Record, pair_keys
from lmteach.teaching.store import Store
url, me = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
made = 0
with Store.open(url, run=f"writer {me}") as store:
    for step in range(30):
        # each writer has keys of its own and, in another order, keys that all writers have
        names = [f"own {me} {step} {i}" for i in range(10)]
        names += [f"shared {(step * (me + 1)) % 30} {i}" for i in range(10)]
        if me % 2:
            names.reverse()
        made += store.put_many([Record(pair_keys("t", n, ["c"])[0], "t", float(me)) for n in names])
print(made)
"""


def test_four_processes_write_at_once(store_url: str) -> None:
    """No key is lost or doubled; the processes even race to make the store."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store_url, str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    made = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    steps = {(step * (me + 1)) % 30 for me in range(4) for step in range(30)}
    expected = {f"own {m} {s} {i}" for m in range(4) for s in range(30) for i in range(10)}
    expected |= {f"shared {s} {i}" for s in steps for i in range(10)}
    with Store.open(store_url, create=False) as store:
        assert set(store.get_many(pair_keys("t", n, ["c"])[0] for n in expected)) == {
            r.key for r in store.records()
        }
        assert sum(made) == len(expected) == store.stats()[0].verdicts


def test_many_open_a_new_store_at_once(store_url: str) -> None:
    """Whoever comes first makes the tables; the others must find them, not fail."""
    for _ in range(5):
        start = threading.Barrier(8)

        def open_one(_: int, start: threading.Barrier = start) -> int:
            start.wait()
            with Store.open(store_url) as store:
                return len(store.stats())

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(open_one, range(8))) == [0] * 8
        with Store.open(store_url) as store, store._engine.begin() as connection:
            tables.drop_all(connection)


JUDGE = """
import sys, time
from lmteach.teaching.annotator import annotate
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.types import Judgement, Usage, Verdict

class Teacher:
    Config, scope, identity = object, "pair", "slow"
    def judge(self, batch):
        time.sleep(0.004)
        return [Verdict(tuple(float(len(c)) for c in j.candidates), usage=Usage(5)) for j in batch]
    def close(self):
        pass

class Judgements(list):
    pass

judgements = [Judgement(f"document {i}", ("a", "bb", "ccc")) for i in range(2000)]
store = Store.open(sys.argv[1])
print("ready", flush=True)
annotate(StoredTeacher(Teacher(), store), judgements, chunk=5,
         progress=lambda done, n, counts: print(done, flush=True))
"""


def kill_in_the_middle(url: str, after: float) -> int:
    """Judge, kill -9 after a while, and return how many documents it had reported as done."""
    judge = subprocess.Popen([sys.executable, "-c", JUDGE, url], stdout=subprocess.PIPE, text=True)
    assert judge.stdout is not None
    assert judge.stdout.readline() == "ready\n"
    time.sleep(after)
    os.kill(judge.pid, signal.SIGKILL)
    reported = judge.stdout.read().split("\n")[:-1]  # a last line without its end was cut
    judge.wait()
    return int(reported[-1]) if reported else 0


def check_after_kill(url: str, n_reported: int) -> None:
    """All that was reported is there, at most one batch more, and every record is whole."""
    with Store.open(url, create=False) as store:
        kept = list(store.records())
        assert 3 * n_reported <= len(kept) <= 3 * (n_reported + 5)
        assert len(kept) % 15 == 0, "a batch is there as a whole or not at all"
        assert all(r.score in (1.0, 2.0, 3.0) and r.usage.prompt_tokens in (1, 2) for r in kept)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_kill_loses_at_most_the_batch_in_flight(store_url: str, tmp_path: Path) -> None:
    chosen = random.Random(5)
    for i in range(3):
        url = store_url if "://" in store_url else str(tmp_path / f"{i}.sqlite")
        check_after_kill(url, kill_in_the_middle(url, chosen.uniform(0.05, 0.7)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_fifty_kills_at_random_moments(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for i in range(50 if kind == "sqlite" else 10):
        if kind == "sqlite":
            url = str(tmp_path / f"{i}.sqlite")
        else:
            import psycopg

            server = request.getfixturevalue("postgres_server")
            with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE kill{i}")  # type: ignore[arg-type]
            url = f"{server}/kill{i}"
        check_after_kill(url, kill_in_the_middle(url, random.uniform(0.0, 1.5)))


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    url = str(tmp_path / "s.sqlite")
    n = kill_in_the_middle(url, 0.4)
    assert n > 0
    with Store.open(url) as store:
        first = {record.key: record.created_at for record in store.records()}
        done = subprocess.run([sys.executable, "-c", JUDGE, url], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        after = {record.key: record.created_at for record in store.records()}
    assert len(after) == 6000
    assert all(after[key] == when for key, when in first.items()), "nothing was judged twice"


class TestFaults:
    def test_full_disk_loses_nothing_that_was_written(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "s.sqlite") as store:
            store.put_many(some_records(100))
            sa.event.listen(
                store._engine, "connect", lambda c, _: c.execute("PRAGMA max_page_count = 20"), insert=False
            )
            store._engine.dispose()
            with pytest.raises(
                StoreError, match=r"cannot be written: no room is left.*What was written before is kept"
            ):
                store.put_many(some_records(20000, start=100))
            assert len(store.get_many(r.key for r in some_records(100))) == 100
            assert store.stats()[0].verdicts == 100, "the batch that failed is not there in part"
        with Store.open(tmp_path / "s.sqlite") as store:
            assert store.put_many(some_records(20000, start=100)) == 20000, "with room again it goes on"

    @pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
    def test_a_disk_that_is_really_full(self, small_disk: Path) -> None:
        n_kept = 0
        with Store.open(small_disk / "s.sqlite") as store:
            for step in range(1000):
                try:
                    store.put_many(some_records(200, start=200 * step))
                except StoreError as error:
                    assert "no room is left" in str(error)  # noqa: PT017
                    break
                n_kept += 200
            else:
                raise AssertionError("the disk never filled up")
        assert n_kept > 0
        with Store.open(small_disk / "s.sqlite") as store:
            assert len(store.get_many(r.key for r in some_records(n_kept))) == n_kept

    def test_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not a database at all, but long enough to be looked at " * 50)
        with pytest.raises(StoreError, match=r"notes\.txt: This file is not a database"):
            Store.open(path)
        assert path.read_text().startswith("not a database")

    def test_a_database_of_something_else(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "s.sqlite") as connection:
            connection.execute("CREATE TABLE songs (title TEXT)")
        with pytest.raises(StoreError, match="a database of something else"):
            Store.open(tmp_path / "s.sqlite")

    def test_a_newer_version(self, store_url: str) -> None:
        with Store.open(store_url) as store, store._engine.begin() as connection:
            connection.execute(sa.text("UPDATE lmteach_meta SET value = '99' WHERE name = 'schema_version'"))
        with pytest.raises(StoreError, match="version 99; this lmteach reads up to 1"):
            Store.open(store_url)

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        path = tmp_path / "s.sqlite"
        with Store.open(path) as store:
            store.put_many(some_records(5000))
        data = bytearray(path.read_bytes())
        data[8192:-8192] = os.urandom(len(data) - 16384)
        path.write_bytes(data)
        with pytest.raises(StoreError, match="damaged"):
            Store.open(path).get_many(r.key for r in some_records(5000))

    def test_missing_without_create(self, tmp_path: Path, postgres_url: str) -> None:
        for url in (str(tmp_path / "none.sqlite"), postgres_url):
            with pytest.raises(StoreError, match="There is no store"):
                Store.open(url, create=False)
        assert not (tmp_path / "none.sqlite").exists()

    def test_a_folder_is_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="This is a folder"):
            Store.open(tmp_path)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("mysql://me@host/x", "cannot be kept in mysql"),
            ("sqlite://", "names no file"),
            ("sqlite:///:memory:", "names no file"),
            ("://x", "cannot be read"),
            ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "cannot be opened.*refused"),
        ],
    )
    def test_bad_urls(self, url: str, said: str) -> None:
        with pytest.raises(StoreError, match=said) as caught:
            Store.open(url)
        assert "secret" not in str(caught.value)

    def test_a_folder_that_may_not_be_written(self) -> None:
        """As root nothing is forbidden, so a process without rights tries; a fork might wait for another's lock."""
        with tempfile.TemporaryDirectory() as name:  # not tmp_path, whose parents are root's alone
            folder = Path(name)
            with Store.open(folder / "s.sqlite") as store:
                store.put_many(some_records(10))
            (folder / "s.sqlite").chmod(0o444)
            folder.chmod(0o555)
            script = f"{_LOADED}._write_without_rights(Path({name!r}))"
            done = subprocess.run(
                [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=120
            )
            folder.chmod(0o700)
        lines = done.stdout.splitlines()
        assert len(lines) == 3, lines
        assert all("allow it" in line or "cannot be made" in line for line in lines), lines


_LOADED = f"""
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_store", {__file__!r})
module = sys.modules["test_store"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module"""


def _write_without_rights(folder: Path) -> None:
    """Try as nobody, and print what came of it; what that needs is imported before, by a store elsewhere."""
    with tempfile.TemporaryDirectory() as name, Store.open(Path(name) / "s.sqlite") as store:
        store.put_many(some_records(1))
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for name in ("s.sqlite", "new.sqlite", "sub/new.sqlite"):
        try:
            Store.open(folder / name).put_many(some_records(1, start=99))
            print("written")
        except BaseException as error:
            print(str(error).replace("\n", " "))


def test_a_fork_leaves_its_parents_connections_alone(store_url: str) -> None:
    """A child that took over an open connection would mix its words with the parent's."""
    with Store.open(store_url) as store:
        store.put_many(some_records(10))
        (parents,) = [id(c) for c in _connections(store)]
        child = os.fork()
        if child == 0:
            ok = store.put_many(some_records(10, start=10)) == 10 and len(list(store.records())) == 20
            os._exit(0 if ok and [id(c) for c in _connections(store)] != [parents] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert store.put_many(some_records(10, start=20)) == 10
        assert [id(c) for c in _connections(store)] == [parents], "the child did not close it either"
        assert store.stats()[0].verdicts == 30


def _connections(store: Store) -> list[object]:
    """The connection that the pool gives out."""
    with store._reach().connect() as connection:
        return [connection.connection.dbapi_connection]
