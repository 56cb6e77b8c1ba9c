"""Texts to vectors without gradients, in length-sorted, token-budgeted batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from lmteach.errors import LmteachError
from lmteach.students.protocol import Encoder, Kind, Packable, Reader
from lmteach.token_batches import WINDOW, token_batches

if TYPE_CHECKING:
    Vectors = npt.NDArray[np.float32]


def encode_texts(
    encoder: Encoder,
    texts: Sequence[str],
    kind: Kind,
    *,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    batch_tokens: int | None = None,
    out: Vectors | None = None,
    progress: Callable[[int], None] | None = None,
    reader: Reader | None = None,
) -> Vectors:
    """Return the normalised vectors [n, D] of n texts, in their order.

    The module is set to eval for the time and restored; no gradients are kept.

    Args:
        batch_tokens: padded tokens a forward at most; one text longer than that goes alone. None: what was
            fastest where measured, 2,048 on a CPU and 65,536 on a GPU.
        out: where to write, a memory map for corpora beyond memory; a new array if None.
        progress: called with the number of texts done since the last call.
        reader: what `packed_reader` gave for this encoder, by a caller who encodes often and trains no more.

    Raises:
        LmteachError: the encoder returned NaN or infinity.
    """
    assert isinstance(encoder, torch.nn.Module)
    vectors = np.empty((len(texts), encoder.dim), dtype=np.float32) if out is None else out
    budget = batch_tokens or (2048 if device == "cpu" else 65_536)
    with reading(encoder, encoder, device, precision, reader) as packed:
        read = packed or (lambda ids: encoder(_move(encoder.collate(ids), device)))
        for start in range(0, len(texts), WINDOW):
            token_ids = encoder.tokenize(texts[start : start + WINDOW], kind)
            for places in token_batches([len(ids) for ids in token_ids], budget):
                output_BD = read([token_ids[i] for i in places]).float().cpu().numpy()
                bad = ~np.isfinite(output_BD).all(axis=1)
                if bad.any():
                    raise LmteachError(
                        f"The encoder returned NaN or infinity for {bad.sum()} of {len(places)} texts.",
                        where=f"text {start + places[int(bad.argmax())]}",
                        mend="Training diverged: try a lower training.lr, or training.precision=fp32.",
                    )
                vectors[start + np.asarray(places)] = output_BD
                if progress is not None:
                    progress(len(places))
    return vectors


@contextmanager
def reading(
    model: Any, body: torch.nn.Module, device: str, precision: Literal["fp32", "bf16"], reader: Reader | None
) -> Iterator[Reader | None]:
    """Have a model's body read on a device, in eval mode and without gradients; its mode is restored afterwards.

    Args:
        reader: what `packed_reader` gave for this model; None = it is asked now.

    Yields:
        the faster forward, or None: then the body's own is to be called, which computes in `precision` here.
    """
    was_training = body.training
    body.eval().to(device)
    try:
        reader = reader or packed_reader(model, device, precision)
        mixed = precision == "bf16" and reader is None
        with (
            torch.inference_mode(),
            torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=mixed),
        ):
            yield reader
    finally:
        body.train(was_training)


def packed_reader(model: Any, device: str, precision: Literal["fp32", "bf16"]) -> Reader | None:
    """Return the faster forward that a model offers on this device; None = it has none."""
    return model.packed(precision) if device == "cpu" and isinstance(model, Packable) else None


def _move(batch: Any, device: str) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
