"""A class named in words: the model writes an answer, a strict reader takes it for a class or leaves it unread.

This is LlamBERT's own way (section 3: sampled, up to ten tokens). Log-probabilities tell more for less, and are the
default; this is here to reproduce, and for models whose answers come with a preface.

Shape legend: B prompts of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmteach.errors import RecipeError
from lmteach.teaching.answers import Reader, sure_of
from lmteach.teaching.causal.frame import Frame
from lmteach.teaching.causal.kinds import Cuts
from lmteach.teaching.causal.request import Tokens
from lmteach.teaching.chance import chance
from lmteach.teaching.prompts import Prompt
from lmteach.teaching.sampling import Sampling
from lmteach.types import Judgement, Usage, Verdict


class GeneratedChoice:
    """Asks a choice prompt and reads the answer's words.

    Args:
        tokenizer: the model's.
        prompt: of the kind `choice`; what stands in front of `{candidate}` begins the answer.
        cuts: where other people's texts are cut.
        reader: how an answer becomes a class.
        sampling: how it is written. What is drawn depends on the document and the seed alone, not on the batch.

    Raises:
        RecipeError: the prompt is of another kind.
    """

    def __init__(
        self, tokenizer: Any, prompt: Prompt, cuts: Cuts, reader: Reader, sampling: Sampling
    ) -> None:
        if prompt.kind != "choice":
            raise RecipeError(
                f"Only a choice prompt is answered in words, and '{prompt.name}' is {prompt.kind}.",
                where="teacher.answers",
                mend="Set teacher.answers=logprobs, or another prompt.",
            )
        self.tokenizer, self.prompt, self.cuts = tokenizer, prompt, cuts
        self.reader, self.sampling = reader, sampling
        eos = tokenizer.eos_token_id
        self._ends = {eos} if eos is not None else set()

    def prompts(self, judgements: Sequence[Judgement]) -> list[Tokens]:
        """Return the tokens of each judgement's prompt."""
        frames: dict[tuple[str, ...], Frame] = {}
        found = []
        for judgement in judgements:
            listed = judgement.described if self.prompt.lists_candidates else ()
            if listed not in frames:
                cuts = self.cuts
                frames[listed] = Frame(self.tokenizer, self.prompt, cuts.document, cuts.candidate, listed)
            found += frames[listed].documents([judgement.document])
        return found

    def count(self, judgements: Sequence[Judgement]) -> list[int]:
        """Return the tokens that each judgement makes the model read or write at most."""
        return [len(prompt) + self.sampling.max_tokens for prompt in self.prompts(judgements)]

    def judge(self, model: Any, judgements: Sequence[Judgement], batch_tokens: int) -> list[Verdict]:
        """Return each judgement's verdict: sure log-probabilities of the class named, all None where none is."""
        prompts = self.prompts(judgements)
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        found: dict[int, Verdict] = {}
        while order:
            n = max(1, batch_tokens // (len(prompts[order[0]]) + self.sampling.max_tokens))
            batch, order = order[:n], order[n:]
            seeds = [self._seed(judgements[i]) for i in batch]
            for i, ids in zip(batch, self._write(model, [prompts[i] for i in batch], seeds), strict=True):
                found[i] = self._verdict(judgements[i], prompts[i], ids)
        return [found[i] for i in range(len(judgements))]

    def _seed(self, judgement: Judgement) -> int:
        parts = (judgement.document, *judgement.questions)
        return int(chance(self.sampling.seed, "answer", *parts) * 2**53)

    def _verdict(self, judgement: Judgement, prompt: Tokens, ids: Sequence[int]) -> Verdict:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        n = len(judgement.candidates)
        scores = sure_of(self.reader.read(text.strip(), judgement.candidates), n)
        usage = Usage(prompt_tokens=len(prompt), answer_tokens=len(ids))
        return Verdict(tuple(scores) if scores is not None else (None,) * n, (text,), usage)

    @torch.inference_mode()
    def _write(self, model: Any, prompts: Sequence[Tokens], seeds: Sequence[int]) -> list[list[int]]:
        """Return the tokens written behind each prompt, the end token included where there is one."""
        longest = max(map(len, prompts))
        ids = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        written: list[list[int]] = [[] for _ in prompts]
        cache, done = None, [False] * len(prompts)
        for _ in range(self.sampling.max_tokens):
            positions = (mask.cumsum(1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
            out = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                position_ids=positions.to(model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            next_B = self._draw(out.logits[:, -1].float().cpu(), draws)
            for row, token in enumerate(next_B.tolist()):
                if not done[row]:
                    written[row].append(token)
                    done[row] = token in self._ends
            if all(done):
                break
            ids = next_B[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        return written

    def _draw(self, logits_BV: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """Return the next token of each row: the likeliest, or by the Gumbel trick one drawn from the top."""
        sampling = self.sampling
        if not sampling.temperature:
            return logits_BV.argmax(dim=1)
        n_top = min(sampling.top_k or logits_BV.shape[1], logits_BV.shape[1])
        top, ids = logits_BV.topk(n_top, dim=1)
        noise = torch.stack([torch.empty(n_top).exponential_(generator=g).log() for g in draws])
        return ids.gather(1, (top / sampling.temperature - noise).argmax(dim=1, keepdim=True))[:, 0]
