"""The `openai` teacher against llama.cpp's own server with SmolLM2, and against a proxy that spoils requests.

Nothing here is a mock of a server: replies come from the real one, kept by the proxy where a test needs the same
reply twice (llama.cpp's scores move by some hundredths with what its cache holds).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from lmteach.errors import LmteachError, PluginError, RecipeError, TeacherError
from lmteach.teaching.annotator import annotate
from lmteach.teaching.protocol import PartialVerdictsError, Teacher, TeacherResources
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.testing import TeacherContract, no_members
from lmteach.types import Judgement, Verdict
from lmteach_plugins.teachers.openai import OpenAITeacher

KEY, VARIABLE = "lmteach-test-key-4711", "LMTEACH_TEST_KEY"
N_PROBES = 2
TEXTS = (
    "The heap keeps the smallest item first.",
    "Bake the bread for forty minutes.",
    "Rules on the labelling of beef.",
    "The comet was seen near Jupiter.",
)
CANDIDATES = ("cooking", "astronomy", "data structures", "food law")
JUDGEMENTS = [Judgement(text, CANDIDATES, f"d{i}") for i, text in enumerate(TEXTS)]
N_PAIRS = len(TEXTS) * len(CANDIDATES)
SHORT = {  # the server reads some 60 tokens a second on a busy core
    "kind": "pointwise",
    "name": "short",
    "system": "Answer Yes or No.",
    "user": "<text>{document}</text>\nIs it about {candidate}?",
}
QUICK = {"max_retries": 12, "max_wait": 5.0}
Proxied = Callable[..., AbstractContextManager[Any]]


def build(url: str, **keys: Any) -> OpenAITeacher:
    given = {"model": "smollm2", "base_url": url, "prompt": SHORT, "api_key_env": VARIABLE, **keys}
    teacher = OpenAITeacher(OpenAITeacher.Config(**given), TeacherResources(no_members))
    limits = teacher._server.limits
    teacher._server.limits = dataclasses.replace(limits, first_wait=0.02)
    return teacher


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture(scope="session")
def memory() -> dict[Any, Any]:
    """What the real server answered so far."""
    return {}


@pytest.fixture
def proxied(faulty: ModuleType, llama_server: str, memory: dict[Any, Any]) -> Proxied:
    """Return a function that puts a proxy in front of the real server: `proxied(rates, seed=..., ...)`.

    With `fresh=True` the server is really asked each time.
    """

    def start(rates: Any = None, *, fresh: bool = False, change: Any = None, **faults: Any) -> Any:
        keep = None if fresh else memory
        return faulty.FaultProxy(llama_server, faulty.Faults(rates or {}, **faults), keep, change)

    return start


@pytest.fixture
def expected(proxied: Proxied) -> list[Verdict]:
    """What the server says of all pairs where nothing is spoilt."""
    with proxied() as proxy:
        return build(proxy.url).judge(JUDGEMENTS)


def n_kept(store: Store) -> int:
    return sum(teacher.verdicts for teacher in store.stats())


def scores_of(verdicts: list[Verdict]) -> list[tuple[float | None, ...]]:
    return [verdict.scores for verdict in verdicts]


class TestOpenAI(TeacherContract):
    """The whole contract; each distinct request reaches the real server once."""

    url: ClassVar[str]
    keys: ClassVar[dict[str, Any]] = {}
    other_keys = (
        {"model": "other"},
        {"prompt": "about"},
        {"answers": "text"},
        {"answers": "text", "reader": "exact"},
        {"top_logprobs": 5},
        {"max_document_chars": 100},
        {"extra": {"seed": 1}},
    )

    @pytest.fixture(autouse=True)
    def _proxy(self, proxied: Proxied) -> Iterator[None]:
        with proxied() as proxy:
            type(self).url = proxy.url
            yield

    def judgements(self) -> list[Judgement]:
        long = "Bake the bread for forty minutes. " * 3
        return [Judgement(text, CANDIDATES[:2], str(i)) for i, text in enumerate((TEXTS[0], long, TEXTS[2]))]

    def build(self, **keys: Any) -> Teacher:
        return build(self.url, **{"max_document_chars": 80, **self.keys, **keys})


@pytest.mark.slow
class TestOpenAIListwise(TestOpenAI):
    keys: ClassVar[dict[str, Any]] = {"prompt": "listwise"}
    other_keys = ()


@pytest.mark.slow
class TestOpenAIChoiceInWords(TestOpenAI):
    keys: ClassVar[dict[str, Any]] = {"prompt": "choice", "answers": "text"}
    other_keys = ()


def test_identity_knows_neither_server_nor_key_nor_pace() -> None:
    here = build("http://127.0.0.1:1/v1")
    there = build("https://example.org/v1", api_key_env="OTHER", concurrency=3, timeout=5.0, max_retries=1)
    assert here.identity == there.identity
    assert "127.0.0.1" not in here.identity
    assert KEY not in here.identity
    path = build("http://127.0.0.1:1/v1", model="/some/where/SmolLM2.gguf").identity
    assert "/some" not in path
    assert "SmolLM2.gguf" in path
    renamed = build("http://127.0.0.1:1/v1", model="openai/smollm2", known_as="smollm2")
    assert renamed.identity == here.identity


def test_scores_are_log_odds_and_cost_is_counted(
    expected: list[Verdict], tmp_path: Path, proxied: Proxied
) -> None:
    flat = [score for verdict in expected for score in verdict.scores]
    assert len(flat) == N_PAIRS
    assert None not in flat
    assert len(set(flat)) > N_PAIRS // 2
    prices = tmp_path / "prices.yaml"
    prices.write_text("dated: 2026-01-01\nmodels:\n  smollm2: {input: 3.0, output: 7.0}\n")
    with proxied() as proxy:
        verdicts = build(proxy.url, prices=str(prices)).judge(JUDGEMENTS)
        bodies = [body for body in proxy.whole if b"Name any" not in body]
        told = [json.loads(proxy.memory["/v1/chat/completions", body][1])["usage"] for body in bodies]
    assert scores_of(verdicts) == scores_of(expected)
    paid = sum(v.usage.prompt_tokens for v in verdicts), sum(v.usage.answer_tokens for v in verdicts)
    assert paid == (sum(usage["prompt_tokens"] for usage in told), N_PAIRS)
    assert paid[0] > 20 * N_PAIRS
    assert sum(v.usage.usd for v in verdicts) == pytest.approx((3 * paid[0] + 7 * paid[1]) / 1e6)


def test_no_more_requests_are_under_way_at_once_than_allowed(
    proxied: Proxied, expected: list[Verdict]
) -> None:
    with proxied({"slow": 1.0}, seconds=1.0) as proxy:
        started = time.perf_counter()
        assert scores_of(build(proxy.url, concurrency=6).judge(JUDGEMENTS)) == scores_of(expected)
        seconds = time.perf_counter() - started
    assert 3 <= proxy.most_at_once <= 6
    assert seconds < 0.7 * 0.1 * N_PAIRS


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_faults_lose_nothing_and_judge_nothing_twice(
    seed: int, proxied: Proxied, expected: list[Verdict], tmp_path: Path
) -> None:
    """Drops, cuts, garbling, delays beyond the time-out, 429 and 5xx, every other request suffers one."""
    names = ("drop_before", "drop_after", "truncate", "garble", "429", "429_soon", "500", "503", "delay")
    with (
        proxied(dict.fromkeys(names, 0.06), seed=seed, seconds=4.5) as proxy,
        Store.open(tmp_path / "s.db") as store,
    ):
        build(proxy.url)._check_server()
        proxy.forget()
        stored = StoredTeacher(build(proxy.url, timeout=3.0, **QUICK), store)
        found = annotate(stored, JUDGEMENTS, chunk=4)
        assert len(proxy.spoilt) >= 6, proxy.spoilt
        # Nothing lost: every pair has the score that it has without faults.
        assert [tuple(row) for row in found.scores_nk.tolist()] == [
            tuple(map(pytest.approx, scores)) for scores in scores_of(expected)
        ]
        assert n_kept(store) == N_PAIRS == found.counters.made
        # Nothing asked twice but what went wrong on the way: a request a pair, one more for each fault.
        bodies = [body for body in proxy.sent if b"Name any" not in body]
        assert len(bodies) == N_PAIRS
        assert proxy.sent.total() == len(proxy.sent) + proxy.spoilt.total()
        assert set(proxy.whole.values()) == {1}
        assert set(proxy.whole) == set(proxy.sent)
        # And nothing at all a second time.
        proxy.forget()
        again = annotate(StoredTeacher(build(proxy.url), store), JUDGEMENTS)
        assert again.counters.made == 0
        assert proxy.sent.total() == 0
        assert again.scores_nk.tolist() == found.scores_nk.tolist()


@pytest.mark.parametrize(
    ("fault", "message"),
    [("quota", "quota of the key in LMTEACH_TEST_KEY is spent"), ("500", "did not answer")],
)
def test_a_batch_that_breaks_off_keeps_what_was_answered(
    fault: str, message: str, proxied: Proxied, expected: list[Verdict], tmp_path: Path
) -> None:
    """After 13 requests the quota is spent, or the server is gone; a second run pays only for the rest."""
    store = Store.open(tmp_path / "s.db")
    with proxied({fault: 1.0}, begin_at=N_PROBES + 13) as proxy:
        teacher = StoredTeacher(build(proxy.url, concurrency=3, max_retries=2), store)
        with pytest.raises(PartialVerdictsError, match=message):
            annotate(teacher, JUDGEMENTS, chunk=len(JUDGEMENTS))
        assert n_kept(store) == 13
        if fault == "quota":
            assert proxy.sent.total() <= N_PROBES + 13 + 3, "it went on asking"
            assert max(proxy.sent.values()) == 1, "a spent quota was tried again"
    with proxied() as proxy:
        found = annotate(StoredTeacher(build(proxy.url), store), JUDGEMENTS)
        assert proxy.sent.total() == N_PROBES + N_PAIRS - 13
    assert found.scores_nk.tolist() == [pytest.approx(scores) for scores in scores_of(expected)]
    store.close()


@pytest.mark.parametrize("fault", ["garble", "truncate", "html"])
def test_what_stays_garbled_is_unread_and_costs_its_neighbours_nothing(
    fault: str, proxied: Proxied, expected: list[Verdict], faulty: ModuleType
) -> None:
    with proxied({fault: 0.15}, seed=5) as proxy:
        always = proxy.faults
        proxy.faults.pick = lambda body, n_before, n: (
            "" if b"Name any" in body else faulty.Faults.pick(always, body, 0, n)
        )
        verdicts = build(proxy.url, max_retries=2, answers="logprobs").judge(JUDGEMENTS)
        spoilt = {body: n for body, n in proxy.sent.items() if body not in proxy.whole}
    assert 0 < len(spoilt) < N_PAIRS
    assert set(spoilt.values()) == {3}
    unread = [score is None for verdict in verdicts for score in verdict.scores]
    assert sum(unread) == len(spoilt)
    for verdict, plain in zip(verdicts, expected, strict=True):
        for score, other in zip(verdict.scores, plain.scores, strict=True):
            assert score is None or score == other


def test_something_that_is_no_server_of_models_is_said_so(proxied: Proxied) -> None:
    with proxied({"html": 1.0}) as proxy:
        with pytest.raises(TeacherError, match="sends no completions"):
            build(proxy.url, max_retries=1).judge(JUDGEMENTS[:1])
        # Without log-probabilities there is no probe: the batch itself tells.
        with pytest.raises(TeacherError, match="sends no completions"):
            build(proxy.url, max_retries=0, answers="text").judge(JUDGEMENTS)
        (few,) = build(proxy.url, max_retries=0, answers="text").judge(JUDGEMENTS[:1])
        assert few.scores == (None,) * len(CANDIDATES)


def test_a_server_that_is_not_there_is_soon_given_up() -> None:
    started = time.perf_counter()
    with pytest.raises(TeacherError, match=r"127\.0\.0\.1:9.*did not answer, asked 3 times: no connection"):
        build("http://127.0.0.1:9/v1").judge(JUDGEMENTS)
    assert time.perf_counter() - started < 10


def test_a_silent_server_times_out_and_is_asked_again(proxied: Proxied, expected: list[Verdict]) -> None:
    with proxied({"hang": 1.0}, only_first=1, seconds=6.0) as proxy:
        found = build(proxy.url, timeout=2.0, concurrency=32).judge(JUDGEMENTS[:2])
    assert scores_of(found) == scores_of(expected[:2])
    assert min(proxy.sent.values()) == 2
    assert set(proxy.whole) == set(proxy.sent)


def test_retry_after_is_honoured_by_all(proxied: Proxied, expected: list[Verdict]) -> None:
    """One reply says when to come back (0.2 s); nothing at all is sent before."""
    with proxied({"429_soon": 1.0}, only_first=1) as proxy:
        started = time.perf_counter()
        found = build(proxy.url, concurrency=1).judge(JUDGEMENTS[:1])
        seconds = time.perf_counter() - started
    assert scores_of(found) == scores_of(expected[:1])
    assert set(proxy.sent.values()) == {2}
    assert seconds > 0.2 * len(proxy.sent)
    with proxied({"429_soon": 1.0}) as proxy:
        with pytest.raises(TeacherError, match="wants to be left alone"):
            build(proxy.url, max_wait=0.1).judge(JUDGEMENTS[:1])
        assert proxy.sent.total() <= N_PROBES


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(
    llama_server: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "sk-secret-0815"
    monkeypatch.setenv(VARIABLE, secret)
    with pytest.raises(TeacherError, match=f"refuses the key in {VARIABLE}") as error:
        build(f"{llama_server}/v1").judge(JUDGEMENTS)  # the real server's own refusal
    with proxied({"401": 1.0}) as proxy:  # a server that repeats the key in its complaint
        with pytest.raises(TeacherError, match=r"401.*\*\*\*") as repeated:
            build(proxy.url).judge(JUDGEMENTS)
        assert max(proxy.sent.values()) == 1, "a refused key was tried again"
        assert proxy.headers[0]["Authorization"] == f"Bearer {secret}"
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(TeacherError, match="without a key") as missing:
        build(f"{llama_server}/v1").judge(JUDGEMENTS)
    assert f"{VARIABLE}, which is not set" in str(missing.value)
    with pytest.raises(TeacherError) as misplaced:
        build("http://127.0.0.1:1/v1", api_key_env=secret)
    told = caplog.text + "".join(str(e.value) + repr(e.value) for e in (error, repeated, missing, misplaced))
    assert secret not in told


def test_the_store_holds_no_key(proxied: Proxied, tmp_path: Path) -> None:
    with proxied() as proxy, Store.open(tmp_path / "s.db") as store:
        annotate(StoredTeacher(build(proxy.url), store), JUDGEMENTS[:1])
        assert n_kept(store) == len(CANDIDATES)
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert KEY not in "".join(connection.iterdump())


def test_the_key_of_openai_is_shown_to_nobody_else(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    with proxied({"500": 1.0}) as proxy:
        with pytest.raises(TeacherError):
            build(proxy.url, api_key_env=None, max_retries=0).judge(JUDGEMENTS[:1])
        assert "Authorization" not in proxy.headers[0]
    secret = build("https://api.openai.com/v1", api_key_env=None)._server._key
    assert secret.variable == "OPENAI_API_KEY"
    assert secret.is_set
    assert "sk-of-openai" not in repr(secret)


def test_an_unknown_model_is_not_tried_again(proxied: Proxied) -> None:
    with proxied({"404": 1.0}) as proxy:
        with pytest.raises(TeacherError, match="no such model or address") as error:
            build(proxy.url).judge(JUDGEMENTS)
        assert max(proxy.sent.values()) == 1
    assert "teacher.model" in str(error.value)


def test_a_text_too_long_for_the_model_is_unread_alone(proxied: Proxied, expected: list[Verdict]) -> None:
    """The real server's refusal: four times what it can hold."""
    long = Judgement("word " * 4000, CANDIDATES[:2])
    with proxied() as proxy:
        found = build(proxy.url, max_document_chars=100_000).judge([JUDGEMENTS[0], long, JUDGEMENTS[1]])
        assert max(proxy.sent.values()) == 1
    assert found[1].scores == (None, None)
    assert scores_of([found[0], found[2]]) == scores_of(expected[:2])


def strip(reply: dict[str, Any]) -> dict[str, Any]:
    for choice in reply["choices"]:
        choice.pop("logprobs", None)
    return reply


def alternatives(value: Callable[[dict[str, Any]], float], n: int = 20) -> Callable[[dict[str, Any]], Any]:
    def change(reply: dict[str, Any]) -> dict[str, Any]:
        for choice in reply["choices"]:
            for entry in choice["logprobs"]["content"]:
                entry["logprob"] = value(entry)
                entry["top_logprobs"] = [{**top, "logprob": value(top)} for top in entry["top_logprobs"][:n]]
        return reply

    return change


def made_up(reply: dict[str, Any]) -> dict[str, Any]:
    tops = [{"token": token, "logprob": value} for token, value in (("Yes", -0.5), ("No", -1.0))]
    reply["choices"][0]["logprobs"] = {"content": [{**tops[0], "top_logprobs": tops}]}
    return reply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (strip, "sends no log-probabilities"),
        (alternatives(lambda top: top["logprob"], n=0), "no alternatives"),
        (alternatives(lambda _: -3.0), "same log-probability"),
        (alternatives(lambda top: 2.718 ** top["logprob"]), "no log-probabilities"),
        (
            alternatives(lambda top: 0.0 if top["logprob"] > -3 else -9999.0, n=2),
            "no log-prob|probability 1|same",
        ),
        (made_up, "two unlike questions"),
    ],
)
def test_servers_whose_log_probabilities_are_none_are_found_out(
    change: Callable[[dict[str, Any]], Any], message: str, proxied: Proxied
) -> None:
    with proxied(change=change) as proxy:
        with pytest.raises(TeacherError, match=message) as error:
            build(proxy.url).judge(JUDGEMENTS)
        assert "answers: text" in str(error.value)
        assert proxy.sent.total() == N_PROBES, "judgements were paid for before the server was known"


def test_answers_in_words(proxied: Proxied) -> None:
    """What the model says in words agrees with what its first token's probabilities say, where it can be read."""
    with proxied() as proxy:
        words = build(proxy.url, answers="text").judge(JUDGEMENTS[:2])
        odds = build(proxy.url).judge(JUDGEMENTS[:2])
        assert b"logprobs" not in b"".join(body for body in proxy.sent if b'max_tokens":8' in body)
    read = [
        (said, value, raw)
        for a, b in zip(words, odds, strict=True)
        for said, value, raw in zip(a.scores, b.scores, a.raw, strict=True)
        if said is not None
    ]
    assert len(read) >= 3
    for said, value, raw in read:
        assert abs(said) == 5.0
        assert raw.lower().startswith("yes" if said > 0 else "no")
        assert value is not None
        assert (value > 0) == (said > 0)


def test_extra_fields_are_sent_and_null_drops_one(proxied: Proxied) -> None:
    extra = {"seed": 7, "max_tokens": None, "max_completion_tokens": 1}
    with proxied() as proxy:
        (verdict,) = build(proxy.url, extra=extra).judge([Judgement(TEXTS[0], CANDIDATES[:1])])
        sent = [json.loads(body) for body in proxy.sent]
    assert all(body["seed"] == 7 and body["max_completion_tokens"] == 1 for body in sent)
    assert not any("max_tokens" in body for body in sent)
    assert all(body["temperature"] == 0 and body["top_logprobs"] == 20 for body in sent)
    assert None not in verdict.scores


def test_text_prompts_go_to_the_other_address(proxied: Proxied) -> None:
    """LMTX's own wording is no chat: it is sent as one text to continue."""
    with proxied() as proxy:
        (verdict,) = build(proxy.url, prompt="lmtx-0").judge(JUDGEMENTS[:1])
        bodies = [json.loads(body) for body in proxy.sent]
    prompts = [body["prompt"] for body in bodies if "Name any" not in body["prompt"]]
    assert prompts[0].startswith('USER: document = "The heap keeps')
    assert prompts[0].endswith("Answer yes or no. ASSISTANT:")
    assert len(set(verdict.scores)) == len(CANDIDATES)


def test_closing_opens_again(proxied: Proxied, expected: list[Verdict]) -> None:
    with proxied() as proxy:
        teacher = build(proxy.url)
        teacher.judge(JUDGEMENTS[:1])
        teacher.close()
        assert scores_of(teacher.judge(JUDGEMENTS[:1])) == scores_of(expected[:1])


def test_nothing_is_sent_before_something_is_asked(proxied: Proxied) -> None:
    with proxied() as proxy:
        teacher = build(proxy.url)
        assert teacher.identity
        assert teacher.count_tokens(JUDGEMENTS) > 10 * N_PAIRS
        assert teacher.judge([]) == []
        assert teacher.judge([Judgement("x", ())])[0].scores == ()
        assert proxy.sent.total() == 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": ""}, "needs the model's name"),
        ({"base_url": "api.openai.com"}, "no http address"),
        ({"base_url": "https://me:secret@host/v1"}, "must not hold a password"),
        ({"prompt": "likelihood"}, "does not tell how likely"),
        ({"prompt": {"preset": "choice", "answer": "Class: {candidate}"}}, "cannot be begun"),
        ({"reader": "begin"}, "Did you mean 'begins'"),
        ({"top_logprobs": 1}, "at least 2"),
        ({"concurrency": 0}, "at least 1"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys: dict[str, Any], message: str) -> None:
    url = keys.get("base_url", "http://127.0.0.1:1/v1")
    with pytest.raises((RecipeError, TeacherError), match=message) as error:
        build(url, **{name: value for name, value in keys.items() if name != "base_url"})
    assert "secret" not in str(error.value)


def test_without_httpx_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(PluginError, match="httpx") as error:
        build("http://127.0.0.1:1/v1").judge(JUDGEMENTS)
    assert 'pip install "lmteach[openai]"' in str(error.value)
    assert isinstance(error.value, LmteachError)


@pytest.mark.slow
def test_faults_before_the_real_server_itself(
    proxied: Proxied, expected: list[Verdict], tmp_path: Path
) -> None:
    """Without the proxy's memory: what reaches the server is each pair once, and once more for each lost answer."""
    names = ("drop_before", "drop_after", "truncate", "garble", "429", "500")
    with (
        proxied(dict.fromkeys(names, 0.08), seed=3, fresh=True) as proxy,
        Store.open(tmp_path / "s.db") as store,
    ):
        found = annotate(StoredTeacher(build(proxy.url, **QUICK), store), JUDGEMENTS, chunk=2)
        assert n_kept(store) == N_PAIRS
    lost_answers = sum(proxy.spoilt[name] for name in ("drop_after", "truncate", "garble"))
    assert lost_answers >= 2
    assert proxy.reached.total() == N_PAIRS + N_PROBES + lost_answers
    # llama.cpp's scores move a little with what its cache holds.
    for row, scores in zip(found.scores_nk.tolist(), scores_of(expected), strict=True):
        assert row == pytest.approx(scores, abs=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["about", "sentiment", "listwise"])
def test_a_servers_scores_are_those_of_the_transformers_teacher(prompt: str, llama_server: str) -> None:
    """The same weights asked the same way say the same, but for the server's 8-bit activations and its top 20.

    Measured: mean differences of .02 to .07, correlations of .94 and more.
    """
    import numpy as np

    from lmteach_plugins.teachers.transformers import TransformersTeacher

    candidates = ("positive", "negative") if prompt == "sentiment" else CANDIDATES
    asked = [dataclasses.replace(judgement, candidates=candidates) for judgement in JUDGEMENTS]
    config = TransformersTeacher.Config(prompt=prompt, precision="fp32", device="cpu")
    local = np.array(scores_of(TransformersTeacher(config, TeacherResources(no_members)).judge(asked)), float)
    served = np.array(scores_of(build(f"{llama_server}/v1", prompt=prompt).judge(asked)), float)
    assert np.abs(served - local).mean() < 0.15
    assert np.corrcoef(served.ravel(), local.ravel())[0, 1] > 0.85


@pytest.mark.slow
def test_transformers_serve_ignores_logprobs_and_is_found_out(transformers_server: tuple[str, str]) -> None:
    """A real server that takes `logprobs` and says nothing of it: one error before anything is judged."""
    url, model = transformers_server
    with pytest.raises(TeacherError, match="sends no log-probabilities") as error:
        build(url, model=model).judge(JUDGEMENTS)
    assert "answers: text" in str(error.value)
    verdicts = build(url, model=model, answers="text", concurrency=2).judge(JUDGEMENTS[:2])
    assert all(raw for verdict in verdicts for raw in verdict.raw)
    assert any(score is not None for verdict in verdicts for score in verdict.scores)
    assert all(verdict.usage.prompt_tokens > 20 for verdict in verdicts)
    with pytest.raises(TeacherError):
        build(url, model="no/such-model", answers="text", max_retries=0).judge(JUDGEMENTS[:1])
