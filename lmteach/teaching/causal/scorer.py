"""Reads requests with the fastest backbone that is right for the model, in batches that fit in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from lmteach.errors import TeacherError
from lmteach.teaching.causal.generic import GenericBackbone, UnsupportedError
from lmteach.teaching.causal.llama import LlamaBackbone
from lmteach.teaching.causal.plain import PlainBackbone
from lmteach.teaching.causal.readout import Readout
from lmteach.teaching.causal.request import Request, batches, split

log = logging.getLogger(__name__)

Reading = Literal["auto", "shared", "plain"]

# Root mean square difference of the probe's log-probabilities. bf16 alone makes .02 to .1 of it; a wrong mask
# or position makes 1 and more.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}
_FEWEST_TOKENS = 16


class Backbone(Protocol):
    """Reads requests: the final hidden states at all wanted positions, [W, width]."""

    name: str

    def hidden(self, requests: Sequence[Request]) -> Tensor:
        """See the class."""


class Scorer:
    """Scores requests with one model.

    Args:
        model: a transformers causal language model in evaluation mode.
        batch_tokens: tokens read at once; None = what suits the device. Halved when memory runs out.
        reading: "shared" reads each prefix once, "plain" one prompt a candidate, "auto" the first that
            is right.
    """

    def __init__(
        self,
        model: Any,
        batch_tokens: int | None = None,
        reading: Reading = "auto",
        *,
        compile_parts: bool = False,
    ) -> None:
        self.batch_tokens = batch_tokens or default_batch_tokens(model.device)
        self.readout = Readout(model)
        self._longest: int | None = getattr(model.config, "max_position_embeddings", None)
        plain = PlainBackbone(model, 4 * self.batch_tokens)
        # Only what is chosen is kept: packed weights are a copy, and the model's own go with the last
        # reference.
        self.backbone: Backbone = plain
        if reading != "plain":
            self.backbone = self._choose(model, plain, compile_parts) or self._plain_or_raise(plain, reading)

    def _choose(self, model: Any, plain: Backbone, compile_parts: bool) -> Backbone | None:
        """Return the fastest backbone whose scores are those of the plain way, or None."""
        self._reasons: list[str] = []
        makers: tuple[Callable[[], Backbone], ...] = (
            lambda: LlamaBackbone(model, compile_parts=compile_parts),
            lambda: GenericBackbone(model),
        )
        for make in makers:
            try:
                backbone = make()
                off = self._disagreement(backbone, plain)
            except (UnsupportedError, TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
                if is_out_of_memory(error):
                    raise TeacherError("Out of memory while the teacher was loaded.") from error
                self._reasons.append(str(error).partition("\n")[0])
                continue
            if off <= _TOLERANCE[model.dtype]:
                log.info("reading: %s", backbone.name)
                return backbone
            self._reasons.append(f"its scores are off by {off:.2g}")
        return None

    def _plain_or_raise(self, plain: Backbone, reading: Reading) -> Backbone:
        if reading == "shared":
            raise TeacherError(f"The model cannot share prefixes ({'; '.join(self._reasons)}).")
        log.warning("reading one prompt a candidate, which is slow (%s)", "; ".join(self._reasons))
        return plain

    def _disagreement(self, backbone: Backbone, plain: Backbone) -> float:
        """Return how far log-probabilities are from those of the plain way, on a tiny probe."""
        n_tokens = min(len(self.readout.weight_VD), 1000)
        ids = [(7919 * i + 13) % n_tokens for i in range(40)]
        preamble = ids[:5]
        probe = [
            Request(
                (*preamble, *ids[5:13]), (tuple(ids[13:16]), (), tuple(ids[16:23])), "last", len(preamble)
            ),
            Request((*preamble, *ids[23:30]), (tuple(ids[30:34]), tuple(ids[34:39])), "each", len(preamble)),
        ]
        found = [self.readout.rows(b.hidden(probe), ids).log_softmax(-1) for b in (plain, backbone)]
        return float((found[0] - found[1]).square().mean().sqrt())

    def rows(self, requests: Sequence[Request], token_ids: Sequence[int]) -> list[Tensor]:
        """Return each request's logits of `token_ids` at its wanted positions, [W, A], fp32 on the CPU."""

        def read(hidden_WD: Tensor, batch: Sequence[int]) -> list[Tensor]:
            logits = self.readout.rows(hidden_WD, token_ids)
            return list(torch.split(logits, [requests[i].n_wanted for i in batch]))

        return self._read(requests, read)

    def log_probs(self, requests: Sequence[Request]) -> list[list[float]]:
        """Return, for each request, the log-probability of each suffix behind the prefix, summed over its
        tokens.

        No suffix is empty. `read` is not looked at.
        """
        labels = [request.suffixes for request in requests]
        # A label's last token is judged, not read.
        asked = [
            replace(r, suffixes=tuple(label[:-1] for label in r.suffixes), read="each") for r in requests
        ]

        def read(hidden_WD: Tensor, batch: Sequence[int]) -> list[Tensor]:
            at: list[int] = []
            targets: list[int] = []
            n_labels: list[list[int]] = []
            base = 0
            for i in batch:
                n_labels.append([len(label) for label in labels[i]])
                behind = base + 1
                for label in labels[i]:
                    at += [base, *range(behind, behind + len(label) - 1)]
                    behind += len(label) - 1
                    targets += label
                base = behind
            index = torch.tensor([at, targets], device=hidden_WD.device)
            found = self.readout.log_probs(hidden_WD, index[0], index[1])
            parts = iter(torch.split(found, [n for lengths in n_labels for n in lengths]))
            return [torch.stack([next(parts).sum() for _ in lengths]) for lengths in n_labels]

        return [part.tolist() for part in self._read(asked, read)]

    def _read(
        self, requests: Sequence[Request], read: Callable[[Tensor, Sequence[int]], list[Tensor]]
    ) -> list[Tensor]:
        """Return what `read` makes of each request's hidden states; out of memory halves the batch."""
        found: list[Tensor] = [torch.empty(0)] * len(requests)
        waiting = list(range(len(requests)))
        done: set[int] = set()
        while waiting:
            for batch in batches([requests[i] for i in waiting], self.batch_tokens):
                own = [waiting[i] for i in batch]
                parts = self._attempt(requests, own, read)
                if parts is None:
                    self._shrink(sum(requests[i].n_tokens for i in own))
                    break
                for i, part in zip(own, parts, strict=True):
                    found[i] = part
                done.update(own)
            waiting = [i for i in waiting if i not in done]
        # Only now: while a GPU reads one batch, the next is laid out.
        return _to_cpu(found)

    def _attempt(
        self,
        requests: Sequence[Request],
        batch: Sequence[int],
        read: Callable[[Tensor, Sequence[int]], list[Tensor]],
    ) -> list[Tensor] | None:
        """Return what `read` makes of a batch, or None where memory ran out.

        The error is dropped here, since its traceback holds the tensors that must go.
        """
        try:
            return read(self._hidden([requests[i] for i in batch]), batch)
        except UnsupportedError as error:
            raise TeacherError(f"The model cannot read this: {error}.", mend="Set reading: plain.") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _hidden(self, requests: Sequence[Request]) -> Tensor:
        """Return the hidden states of a batch; a request beyond the budget is read in parts."""
        self._check_length(requests)
        if len(requests) > 1 or requests[0].n_tokens <= self.batch_tokens:
            return self.backbone.hidden(requests)
        parts = split(requests[0], self.batch_tokens)
        found = [self.backbone.hidden([part]) for part in parts]
        # The parts share the prefix's last position; the first part's counts.
        shared = 1 if requests[0].read == "each" else 0
        return torch.cat([found[0], *(part[shared:] for part in found[1:])])

    def _check_length(self, requests: Sequence[Request]) -> None:
        longest = max(len(r.prefix) + max(map(len, r.suffixes), default=0) for r in requests)
        if self._longest is not None and longest > self._longest:
            raise TeacherError(
                f"A prompt has {longest} tokens; the model reads at most {self._longest}.",
                mend="Lower the teacher's max_document_tokens.",
            )

    def _shrink(self, n_tokens: int) -> None:
        """Halve the budget below `n_tokens`.

        Raises:
            TeacherError: it is too small to be halved.
        """
        smaller = min(self.batch_tokens, n_tokens) // 2
        if smaller < _FEWEST_TOKENS:
            raise TeacherError(
                f"Out of memory with {n_tokens} tokens at once.",
                mend="Use a smaller model, a lower max_document_tokens, or more memory.",
            )
        log.warning("out of memory: reading %d tokens at once instead of %d", smaller, self.batch_tokens)
        self.batch_tokens = smaller
        if isinstance(self.backbone, PlainBackbone):
            self.backbone.batch_tokens = 4 * smaller
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _to_cpu(parts: list[Tensor]) -> list[Tensor]:
    if not parts or not parts[0].is_cuda:
        return parts
    flat = torch.cat([part.flatten() for part in parts]).cpu()
    pieces = torch.split(flat, [part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def default_batch_tokens(device: torch.device) -> int:
    """Return how many tokens to read at once: on a CPU few, so that activations stay in the cache."""
    return 1024 if device.type == "cpu" else 32768


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text
        for sign in ("can't allocate", "not enough memory", "out of memory", "failed to allocate")
    )
