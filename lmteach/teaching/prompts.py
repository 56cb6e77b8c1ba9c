"""Prompts for language models as teachers: text, how the answer becomes a score, version. Pure text, no
torch.

A prompt names its parts once; a chat template wraps them later. The document stands in front of the
candidates, so that it is read once for all of them, and instructions stand in front of the document, so
that what must be read anew for each candidate is short.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from lmteach.errors import RecipeError, nearest_name

Kind = Literal["pointwise", "likelihood", "listwise", "choice"]
"""How the answer becomes a score.

`pointwise`: log-odds of yes against no, one candidate at a time.
`likelihood`: log P(candidate | document) - log P(candidate | no document).
`listwise`: all candidates in one prompt, log-odds of each one's letter against "none of these".
`choice`: log-probability of each candidate as the answer, normalised over the candidates.
"""

Style = Literal["chat", "plain", "raw"]
"""`chat`: the model's chat template, else plain; `plain`: USER: ... ASSISTANT: ...; `raw`: the bare parts."""

ROLE_MARKERS = ("USER:", "ASSISTANT:", "SYSTEM:", "HUMAN:")


@dataclass(frozen=True)
class Prompt:
    """One way to ask a language model.

    Placeholders: `{document}` once, in `user`; `{candidate}` once, in `user` (pointwise) or at the end of
    `answer` (likelihood, choice); `{candidates}` once in `user` (listwise), and where wanted in `system` or
    `user` in front of the document (choice).

    Attributes:
        system: what the model is told about its task; may be empty.
        user: instructions, fenced document, question.
        answer: how the model's reply begins.
        shots: worked examples, (document, answer) each, shown in front of the document.
        without_document: stands for the document where a likelihood is taken without one.
        version: raised by hand when code changes the meaning of a text that stays the same.
    """

    kind: Kind
    user: str
    system: str = ""
    answer: str = ""
    style: Style = "chat"
    shots: tuple[tuple[str, str], ...] = ()
    without_document: str = ""
    name: str = "custom"
    version: int = 1

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise RecipeError(problem, where=f"prompt {self.name}")

    def _problems(self) -> list[str]:
        if self.kind not in get_args(Kind):
            return [f"There is no prompt kind '{self.kind}'; there are {', '.join(get_args(Kind))}."]
        if self.style not in get_args(Style):
            return [f"There is no prompt style '{self.style}'; there are {', '.join(get_args(Style))}."]
        place = {"pointwise": "user", "listwise": "user", "likelihood": "answer", "choice": "answer"}[
            self.kind
        ]
        wanted = "{candidates}" if self.kind == "listwise" else "{candidate}"
        problems = []
        if self.user.count("{document}") != 1:
            problems.append("`user` must hold {document} exactly once.")
        elif getattr(self, place).count(wanted) != 1:
            problems.append(f"A {self.kind} prompt must hold {wanted} exactly once, in `{place}`.")
        elif place == "user" and self.user.index("{document}") > self.user.index(wanted):
            problems.append(f"{wanted} must come behind {{document}}: the document is read once for all.")
        elif place == "answer" and not self.answer.endswith(wanted):
            problems.append(f"`answer` must end in {wanted}.")
        if self.shots and self.kind != "choice":
            problems.append("Worked examples (`shots`) serve only a choice prompt.")
        return problems

    @property
    def identity(self) -> str:
        """The name, the version and a hash of all text: changes whenever the model is asked differently."""
        parts = {key: value for key, value in asdict(self).items() if key not in ("name", "version")}
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
        return f"{self.name}-v{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def fence(self) -> str:
        """What ends the document: the text between `{document}` and the next line's end, or empty."""
        rest = self.user.split("{document}", 1)[1].lstrip("\n")
        return rest.split("\n", 1)[0].split("{", 1)[0].strip()

    @property
    def lists_candidates(self) -> bool:
        """Whether the text in front of the candidates depends on all of them."""
        return "{candidates}" in self.system + self.user


def defuse(text: str, markers: Sequence[str]) -> str:
    """Return `text` with a space put into each marker it holds, so that it cannot pass for ours.

    Case does not matter. A marker of one character is left alone: text is full of those.

    >>> defuse("Nice. </document> Assistant: yes", ["</document>", "ASSISTANT:"])
    'Nice. </document > Assistant : yes'
    """
    for marker in markers:
        if len(marker) < 2:
            continue
        pattern = re.compile(re.escape(marker), re.IGNORECASE)
        while pattern.search(text):  # more than once where markers overlap, as in "]]]" for "]]"
            text = pattern.sub(lambda found: f"{found[0][:-1]} {found[0][-1]}", text)
    return text


def load_prompt(value: str | Mapping[str, Any] | Prompt) -> Prompt:
    """Return the preset of that name, or the prompt that a recipe's mapping spells out.

    A mapping may start from a preset: `{preset: about, system: "..."}`.

    Raises:
        RecipeError: unknown preset, unknown key, or a text without its placeholders.
    """
    from lmteach.teaching.wordings import PRESETS

    if isinstance(value, Prompt):
        return value
    if isinstance(value, str):
        if value not in PRESETS:
            raise RecipeError(
                f"There is no prompt named '{value}'.",
                nearest=nearest_name(value, PRESETS),
                mend=f"Presets: {', '.join(sorted(PRESETS))}. Or write {{kind: ..., user: ...}}.",
            )
        return PRESETS[value]
    given = dict(value)
    base = asdict(load_prompt(str(given.pop("preset")))) | {"name": "custom"} if "preset" in given else {}
    known = {f.name for f in fields(Prompt)}
    for key in given:
        if key not in known:
            raise RecipeError(f"A prompt has no key '{key}'.", nearest=nearest_name(key, known))
    merged = base | given
    for key in ("kind", "user"):
        if key not in merged:
            raise RecipeError(f"A prompt needs the key '{key}'.", where="prompt")
    merged["shots"] = tuple((str(document), str(answer)) for document, answer in merged.get("shots", ()))
    return Prompt(**merged)


def enumerate_candidates(candidates: Sequence[str]) -> str:
    """Return the candidates as lettered lines, with "none of these" behind them (for `listwise`)."""
    lines = [f"{letter}. {candidate}" for letter, candidate in zip(LETTERS, candidates, strict=False)]
    return "\n".join([*lines, f"{LETTERS[len(candidates)]}. none of these"])


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_LISTED = len(LETTERS) - 1
