"""From a prompt and a tokenizer to token ids: the chat template around it, the document fenced inside it.

Our own text and other people's text are tokenised apart: in a document or candidate no special token of the
model is ever recognised, so nothing inside can end our prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmteach.errors import TeacherError
from lmteach.teaching.causal.request import Tokens
from lmteach.teaching.prompts import ROLE_MARKERS, Prompt, defuse

_DOCUMENT, _CANDIDATE, _LISTED = "\u27e6document\u27e7", "\u27e6candidate\u27e7", "\u27e6candidates\u27e7"
_TEXT_MARKERS = (
    *ROLE_MARKERS,
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "### Instruction:",
    "### Response:",
)
_CHARS_PER_TOKEN = 24  # more than any text has; bounds the time that a 100 MB document costs

_SHORTEST_PREAMBLE = 8


class Frame:
    """A prompt as one model's tokenizer sees it.

    Args:
        tokenizer: a transformers tokenizer.
        prompt: what to ask.
        max_document_tokens: a document is cut behind so many tokens.
        max_candidate_tokens: so is a candidate.
        candidates: the candidates, where the text in front of the document lists them (`choice`).
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: Prompt,
        max_document_tokens: int,
        max_candidate_tokens: int,
        candidates: Sequence[str] = (),
    ) -> None:
        self.tokenizer, self.prompt = tokenizer, prompt
        self.max_document_tokens, self.max_candidate_tokens = max_document_tokens, max_candidate_tokens
        text = self.render()
        head, _, rest = text.partition(_DOCUMENT)
        wanted = _LISTED if prompt.kind == "listwise" else _CANDIDATE
        middle, found, tail = rest.partition(wanted)
        if not found:
            raise TeacherError(f"The model's chat template drops a part of the prompt '{prompt.name}'.")
        own = head + middle + tail
        self._controls = _control_tokens(tokenizer)
        # Control tokens are not recognised in a document anyway; spelled out they could still mislead.
        self._markers = [m for m in (*_TEXT_MARKERS, *self._controls.values(), prompt.fence) if m in own]
        # A space in front of the candidate belongs to its first token in most vocabularies.
        self.gap = " " if middle.endswith(" ") else ""
        middle = middle[: len(middle) - len(self.gap)]
        listed = ", ".join(self.defuse(c) for c in candidates)
        self.preamble = self._preamble(head, listed)
        self.middle = self._own(middle)
        self.tail = self._own(tail)

    def render(self) -> str:
        """Return the prompt's text with marks where the document and the candidates go."""
        prompt = self.prompt
        user = prompt.user.replace("{document}", _DOCUMENT).replace("{candidate}", _CANDIDATE)
        user = user.replace("{candidates}", _LISTED)
        system = prompt.system.replace("{candidates}", _LISTED)
        answer = prompt.answer.replace("{candidate}", _CANDIDATE)
        turns: list[tuple[str, str]] = []
        for shot_document, shot_answer in prompt.shots:
            turns += [("user", user.replace(_DOCUMENT, shot_document)), ("assistant", shot_answer)]
        turns.append(("user", user))
        if prompt.style == "raw":
            return system + "".join(text for _, text in turns) + answer
        if prompt.style == "chat" and getattr(self.tokenizer, "chat_template", None):
            return self._chat(system, turns) + answer
        names = {"user": "USER: ", "assistant": " ASSISTANT: "}
        body = "".join(names[role] + text + ("\n" if role == "assistant" else "") for role, text in turns)
        return f"{system}\n\n" * bool(system) + body + " ASSISTANT:" + f" {answer}" * bool(answer)

    def _chat(self, system: str, turns: Sequence[tuple[str, str]]) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        if system:
            try:
                with_system = [{"role": "system", "content": system}, *messages]
                text = str(self.tokenizer.apply_chat_template(with_system, **options))
                if system in text:
                    return text
            except Exception:  # a template's own objection to a system line; any Jinja error will do
                pass
            messages[0] = {"role": "user", "content": f"{system}\n\n{messages[0]['content']}"}
        try:
            return str(self.tokenizer.apply_chat_template(messages, **options))
        except Exception as error:
            raise TeacherError(
                f"The model's chat template fails: {error}", mend="Try `style: plain`."
            ) from error

    def defuse(self, text: str) -> str:
        """Return other people's text with everything that imitates our frame broken up."""
        return defuse(text, self._markers)

    def _preamble(self, head: str, listed: str) -> Tokens:
        before, found, after = head.partition(_LISTED)
        ids = self._own(before) + ((self._foreign(listed) + self._own(after)) if found else ())
        if self.prompt.style != "chat" or not getattr(self.tokenizer, "chat_template", None):
            probe = self.tokenizer("x")["input_ids"]
            bos = self.tokenizer.bos_token_id
            if bos is not None and len(probe) > 1 and probe[0] == bos:
                ids = (bos, *ids)
        return ids

    def _own(self, text: str) -> Tokens:
        """Tokenise text of ours: special tokens count."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()

    def _foreign(self, text: str) -> Tokens:
        return self.foreign([text])[0]

    def foreign(self, texts: Sequence[str], *, limit: int | None = None) -> list[Tokens]:
        """Tokenise other people's texts, without special tokens, cut behind `limit` tokens."""
        if limit is not None:
            texts = [text[: limit * _CHARS_PER_TOKEN] for text in texts]
        texts = [self.defuse(text) for text in texts]
        if not texts:
            return []
        options = {"add_special_tokens": False, "split_special_tokens": True}
        found = self.tokenizer(list(texts), **options)["input_ids"]
        for i, ids in enumerate(found):
            if not self._controls.keys().isdisjoint(ids):
                # Added tokens that are not flagged as special are recognised all the same: break up their
                # text.
                marks = sorted({self._controls[t] for t in ids if t in self._controls}, key=len, reverse=True)
                again = self.tokenizer(defuse(texts[i], marks), **options)["input_ids"]
                found[i] = [t for t in again if t not in self._controls]
        return [tuple(ids[:limit]) for ids in found]

    @property
    def n_preamble(self) -> int:
        """How many tokens of every prefix are worth reading once for all documents."""
        n = len(self.preamble) - (not self.middle)  # one token must be left where a document is empty
        return n if n >= _SHORTEST_PREAMBLE else 0

    def documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Return each document's prefix: everything up to the candidate."""
        found = self.foreign(texts, limit=self.max_document_tokens)
        # A model that knows no beginning token still needs one token to begin with.
        return [self.preamble + ids + self.middle or (self.tokenizer.eos_token_id or 0,) for ids in found]

    def candidates(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each candidate, the tail not included."""
        return self.foreign([self.gap + text for text in texts], limit=self.max_candidate_tokens)

    def lists(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of lists of candidates, which are cut candidate by candidate before."""
        return self.foreign([self.gap + text for text in texts])


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    """Return the ids that must never come out of a document, with their text.

    Every special token, and every other added token that looks like markup. An added word is just a word.
    """
    special = set(tokenizer.all_special_ids)
    return {
        int(id_): str(token)
        for id_, token in tokenizer.added_tokens_decoder.items()
        if id_ in special or token.special or (str(token)[:1] in "<[" and str(token)[-1:] in ">]")
    }
