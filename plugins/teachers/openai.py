"""Teacher `openai`: any server that speaks OpenAI's HTTP interface, be it theirs, vLLM's or llama.cpp's."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeGuard
from urllib.parse import urlsplit

from lmteach.errors import RecipeError, TeacherError, nearest_name
from lmteach.teaching.answers import READERS
from lmteach.teaching.prices import PriceTable
from lmteach.teaching.prompts import load_prompt
from lmteach.teaching.protocol import PartialVerdictsError, TeacherResources
from lmteach.teaching.records import NO_USAGE
from lmteach.teaching.remote import Limits, Outcome, Server, Unread
from lmteach.teaching.remote_answers import Answer, log_probs_problem, read_reply
from lmteach.teaching.remote_faults import Secret
from lmteach.teaching.remote_kinds import Options, make_kind, reader_of
from lmteach.teaching.remote_prompts import Cuts, RemotePrompt
from lmteach.types import Judgement, Scope, Usage, Verdict

log = logging.getLogger(__name__)

_OPENAI = "https://api.openai.com/v1"
_CHARS_PER_TOKEN = 4  # of English; for a plan's estimate only
_PROBES = ("Name any animal. Answer with one word.", "Name any colour. Answer with one word.")


@dataclass
class OpenAIConfig:
    """Recipe keys of the teacher `openai`."""

    model: str = ""  # as the server calls it
    base_url: str = _OPENAI
    # The environment variable that holds the key; None = OPENAI_API_KEY for api.openai.com, no key elsewhere.
    api_key_env: str | None = None
    prompt: Any = "about"  # kinds pointwise, choice and listwise
    answers: Literal["logprobs", "text"] = "logprobs"  # text: for servers without log-probabilities
    reader: str = ""  # of answers in words: begins, contains, exact; empty = what suits the prompt
    top_logprobs: int = 20  # alternatives to ask for; some servers allow only 5
    max_answer_tokens: int = 8  # of an answer in words, and of class names that begin alike
    max_document_chars: int = 2000  # about LMTX's 430 tokens
    max_candidate_chars: int = 300
    concurrency: int = 16  # requests under way at once
    timeout: float = 60.0  # seconds
    max_retries: int = 6
    max_wait: float = 120.0  # seconds; a server that wants to be left alone for longer ends the batch
    extra: dict[str, Any] = field(default_factory=dict)  # further fields of each request; null drops one
    prices: str = ""  # a price table laid over the shipped one; relative to the recipe
    known_as: str = ""  # the model's name in the store, where two servers call the same model differently


class OpenAITeacher:
    """Judges by requests to a server, many at once.

    By default a judgement is read from the log-probabilities of the answer's first token, so that nothing is
    left to chance or to a parser. A server that does not send them, or sends nonsense, is found out by two
    requests at the start.
    """

    Config = OpenAIConfig

    def __init__(self, config: OpenAIConfig, resources: TeacherResources) -> None:
        self.config = config
        _check(config)
        self.prompt = load_prompt(config.prompt)
        self._text = RemotePrompt(self.prompt, Cuts(config.max_document_chars, config.max_candidate_chars))
        self._options = Options(config.answers, config.top_logprobs, config.max_answer_tokens, config.reader)
        self._kind = make_kind(self._text, self._options)
        limits = Limits(config.concurrency, config.timeout, config.max_retries, max_wait=config.max_wait)
        self._server = Server(config.base_url, Secret(_key_variable(config)), limits)
        self._path = "/chat/completions" if self._text.chat else "/completions"
        self._prices = resources.folder / Path(config.prices).expanduser() if config.prices else None
        self._is_checked = False

    @property
    def identity(self) -> str:
        """Model, prompt and the way of answering; neither the server nor the key."""
        config = self.config
        mode = (
            f"top{config.top_logprobs}" if config.answers == "logprobs" else f"text{config.max_answer_tokens}"
        )
        parts = [
            "openai",
            config.known_as or _public_name(config.model),
            self.prompt.identity,
            mode,
            f"cut{config.max_document_chars}/{config.max_candidate_chars}",
        ]
        if config.answers == "text":
            parts.append(
                "letter-v1"
                if self.prompt.kind == "listwise"
                else reader_of(self._text, self._options).identity
            )
        if self.prompt.kind == "choice" and config.answers == "logprobs":
            parts.append(f"upto{config.max_answer_tokens}")
        parts += [f"{name}={config.extra[name]}" for name in sorted(config.extra)]
        return " ".join(parts)

    @property
    def scope(self) -> Scope:
        """A score of `listwise` and `choice` depends on all candidates."""
        return "pair" if self.prompt.kind == "pointwise" else "list"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """See `lmteach.teaching.protocol.Teacher`.

        Raises:
            PartialVerdictsError: the server stopped answering, the quota is spent, ...; what it answered by
                then is in it. Where a document's candidates were answered in part (prompts of the kind
                pointwise), the scores of the others are NaN there.
            TeacherError: the same before anything was answered.
        """
        bodies = [self._kind.bodies(judgement) if judgement.candidates else [] for judgement in batch]
        flat = [self._finished(body) for own in bodies for body in own]
        if not flat:
            return [Verdict(()) for _ in batch]
        self._check_server()
        outcome = self._server.ask(self._path, flat, read_reply)
        answers = iter(outcome.answers)
        verdicts = [
            self._verdict(judgement, [next(answers) for _ in own])
            for judgement, own in zip(batch, bodies, strict=True)
        ]
        if outcome.broke is not None:
            raise _broken(outcome, verdicts) from outcome.broke
        return [verdict for verdict in verdicts if verdict is not None]

    def close(self) -> None:
        """Close the connections; a later `judge` opens new ones."""
        self._server.close()
        self._is_checked = False

    def count_tokens(self, judgements: Sequence[Judgement]) -> int:
        """Return about how many tokens the server would read: its tokenizer is not known here."""
        asked = [body for j in judgements if j.candidates for body in self._kind.bodies(j)]
        texts = [m["content"] for body in asked for m in body.get("messages", ())]
        texts += [body["prompt"] for body in asked if "prompt" in body]
        return sum(map(len, texts)) // _CHARS_PER_TOKEN

    def _finished(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the whole request: the model, and what the recipe adds or drops."""
        whole = {"model": self.config.model, **body, **self.config.extra}
        return {name: value for name, value in whole.items() if value is not None}

    def _verdict(self, judgement: Judgement, answers: Sequence[Answer | Unread | None]) -> Verdict | None:
        """Return the verdict that answers give, None where too many of them are missing."""
        if not judgement.candidates:
            return Verdict(())
        missing = [answer is None for answer in answers]
        if all(missing) or (any(missing) and self.scope == "list"):
            return None
        heard = [answer if _is_answer(answer) else None for answer in answers]
        found = self._kind.scores(judgement, heard)
        scores = found.scores
        if any(missing):
            scores = tuple(math.nan if gone else s for gone, s in zip(missing, scores, strict=True))
        usage = sum((answer.usage for answer in heard if answer is not None), NO_USAGE)
        raw = tuple("" if a is None else a.text for a in heard) if self.config.answers == "text" else ()
        # Two lists an order give other numbers of answers than candidates: one text for all then.
        raw = raw if len(raw) in (0, 1, len(scores)) else ("\n".join(raw),)
        return Verdict(scores, raw, self._priced(usage), found.details)

    def _priced(self, usage: Usage) -> Usage:
        price = self._price
        return usage if price is None else usage + Usage(usd=price.usd(usage))

    @cached_property
    def _price(self) -> Any:
        price = PriceTable.load(self._prices).model(self.config.model)
        if price is None and not self._server.is_local:
            log.warning("no price is known for %s: its dollars count as 0", self.config.model)
        return price

    def _check_server(self) -> None:
        """Ask two unlike questions, to see whether the server's log-probabilities are any.

        Raises:
            TeacherError: they are none, or the server does not answer.
        """
        if self._is_checked or self.config.answers == "text":
            return
        settings = {"temperature": 0, "max_tokens": 1}
        top = self.config.top_logprobs
        bodies: list[dict[str, Any]] = []
        for question in _PROBES:
            if self._text.chat:
                asked = {
                    "messages": [{"role": "user", "content": question}],
                    "logprobs": True,
                    "top_logprobs": top,
                }
            else:
                asked = {"prompt": f"USER: {question} ASSISTANT:", "logprobs": top}
            bodies.append(self._finished({**asked, **settings}))
        outcome = self._server.ask(self._path, bodies, read_reply)
        if outcome.broke is not None:
            raise outcome.broke
        heard = [answer for answer in outcome.answers if _is_answer(answer)]
        if len(heard) < len(_PROBES):
            raise TeacherError(
                f"What answers at {self._server.base_url} sends no completions.",
                where="teacher.base_url",
                mend="The address usually ends in /v1.",
            )
        problem = log_probs_problem(*heard)
        if problem is not None:
            raise TeacherError(
                f"The log-probabilities of this server cannot be used: {problem}.",
                where=self._server.base_url,
                mend="Set `answers: text`, so that answers are read from their words.",
            )
        self._is_checked = True


def _is_answer(answer: Answer | Unread | None) -> TypeGuard[Answer]:
    return isinstance(answer, Answer)


def _broken(outcome: Outcome[Answer], verdicts: Sequence[Verdict | None]) -> TeacherError:
    """Return the error of a batch that broke off, with what was answered where anything was."""
    broke = outcome.broke
    assert broke is not None
    if all(verdict is None or not verdict.scores for verdict in verdicts):
        return type(broke)(broke.what, where=broke.where, mend=broke.mend)
    return PartialVerdictsError(broke.what, verdicts, where=broke.where, mend=broke.mend)


def _key_variable(config: OpenAIConfig) -> str:
    """Return the variable that holds the key. OpenAI's own key is shown to nobody else unasked."""
    if config.api_key_env is not None:
        return config.api_key_env
    return "OPENAI_API_KEY" if urlsplit(config.base_url).hostname == urlsplit(_OPENAI).hostname else ""


def _public_name(model: str) -> str:
    """Return a model's name without the folder that it lies in on some machine."""
    is_path = model.startswith(("/", ".", "~")) or model.endswith(".gguf")
    return model.replace("\\", "/").rpartition("/")[2] if is_path else model


def _check(config: OpenAIConfig) -> None:
    if not config.model:
        raise RecipeError("The teacher openai needs the model's name.", where="teacher.model")
    if config.reader and config.reader not in READERS:
        raise RecipeError(
            f"There is no reader '{config.reader}'.",
            where="teacher.reader",
            nearest=nearest_name(config.reader, READERS),
        )
    lowest = {
        "top_logprobs": 2,
        "max_answer_tokens": 1,
        "max_document_chars": 1,
        "max_candidate_chars": 1,
        "concurrency": 1,
        "max_retries": 0,
        "timeout": 0.001,
        "max_wait": 0,
    }
    for name, least in lowest.items():
        if getattr(config, name) < least:
            raise RecipeError(
                f"It must be at least {least}, not {getattr(config, name)}.", where=f"teacher.{name}"
            )
