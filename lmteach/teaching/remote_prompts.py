"""From a prompt to the request that a server of language models gets. Plain text: the tokenizer is over there.

What stands in a document or candidate is data. Its lengths are cut by characters, and what imitates our
fence, a role or a control token of any common chat template is broken up, since many servers recognise
control tokens in the text of a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmteach.errors import RecipeError
from lmteach.teaching.prompts import ROLE_MARKERS, Prompt, defuse

_CONTROL = re.compile(
    r"<(?=\|[^|<>\n]{1,60}\|>)"  # <|im_end|>, <|eot_id|>, <|endoftext|>
    r"|<(?=\uff5c[^\uff5c<>\n]{1,60}\uff5c>)"  # the same with a wide bar
    r"|<(?=/?(?:s|bos|eos|unk|pad)>)"
    r"|<(?=(?:start|end)_of_(?:turn|image)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\{(document|candidate|candidates)\}")


@dataclass(frozen=True)
class Cuts:
    """Lengths at which other people's texts are cut, in characters."""

    document: int = 2000
    candidate: int = 300


class RemotePrompt:
    """A prompt as a server gets it: as chat messages (style `chat`), or as one text to continue.

    Args:
        prompt: what to ask.
        cuts: where texts are cut.

    Raises:
        RecipeError: the prompt asks for something that a server cannot do.
    """

    def __init__(self, prompt: Prompt, cuts: Cuts) -> None:
        self.prompt, self.cuts = prompt, cuts
        self.chat = prompt.style == "chat"
        self._begun = prompt.answer.removesuffix("{candidate}")
        for problem in self._problems():
            raise RecipeError(problem, where=f"prompt {prompt.name}")
        roles = ROLE_MARKERS if prompt.style == "plain" else ()
        self._markers = [marker for marker in (*roles, prompt.fence) if marker]

    def _problems(self) -> list[str]:
        if self.prompt.kind == "likelihood":
            return [
                "A server does not tell how likely a prompt is: use a prompt of the kind pointwise, choice or"
                " listwise, or the teacher transformers or vllm."
            ]
        if self.chat and self._begun.strip():
            return [
                "A chat's answer cannot be begun for the model: leave `answer` bare, or use `style: plain`."
            ]
        if self.prompt.shots and self.prompt.kind != "choice":
            return [f"Shots hold no candidate, so a {self.prompt.kind} prompt cannot show them."]
        return []

    def body(self, document: str, *, candidate: str = "", candidates: str = "") -> dict[str, Any]:
        """Return the part of a request that holds the prompt.

        Args:
            document: raw text.
            candidate: made safe by `safe_candidate`.
            candidates: all candidates as the prompt shows them, each made safe.
        """
        texts = {"document": self.safe_document(document), "candidate": candidate, "candidates": candidates}
        system = _fill(self.prompt.system, texts)
        turns: list[tuple[str, str]] = []
        for shot_document, shot_answer in self.prompt.shots:
            turns += [("user", _fill(self.prompt.user, {**texts, "document": shot_document}))]
            turns += [("assistant", shot_answer)]
        turns.append(("user", _fill(self.prompt.user, texts)))
        if self.chat:
            named = [("system", system)] * bool(system) + turns
            return {"messages": [{"role": role, "content": text} for role, text in named]}
        return {"prompt": self._as_text(system, turns)}

    def _as_text(self, system: str, turns: Sequence[tuple[str, str]]) -> str:
        begun = self._begun.rstrip()  # the space in front of an answer belongs to the answer's token
        if self.prompt.style == "raw":
            return system + "".join(text for _, text in turns) + begun
        names = {"user": "USER: ", "assistant": " ASSISTANT: "}
        body = "".join(names[role] + text + ("\n" if role == "assistant" else "") for role, text in turns)
        return f"{system}\n\n" * bool(system) + body + " ASSISTANT:" + f" {begun}" * bool(begun)

    def safe_document(self, text: str) -> str:
        """Return a document cut, and with everything that imitates our frame broken up."""
        return self._safe(text[: self.cuts.document])

    def safe_candidate(self, text: str) -> str:
        """Return a candidate on one line, cut, and with everything that imitates our frame broken up."""
        return self._safe(" ".join(text[: 4 * self.cuts.candidate].split())[: self.cuts.candidate])

    def _safe(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no JSON text
        return _CONTROL.sub(lambda found: f"{found[0]} ", defuse(text, self._markers))


def _fill(template: str, texts: Mapping[str, str]) -> str:
    """Put texts in their places, all at once: a placeholder inside a document stays as it is."""
    return _PLACEHOLDER.sub(lambda found: texts[found[1]], template)
