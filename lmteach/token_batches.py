"""Which texts a model reads together: those of like length, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Texts tokenized and sorted by length at a time: bounds memory, and is wide enough to fill batches evenly.
WINDOW = 16_384


def token_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the positions of texts of like length, the longest first, `batch_tokens` padded tokens at most.

    A text longer than that goes alone. The longest come first so that a machine too small for them says so at once.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * max(1, lengths[batch[0]]) > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
