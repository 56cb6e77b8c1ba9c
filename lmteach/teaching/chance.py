"""Chance that is a function of its arguments: the same in every process, order and run."""

from __future__ import annotations

import hashlib


def chance(seed: int, *parts: str) -> float:
    """Return a number in [0, 1) that looks drawn at random and depends on its arguments alone."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2.0**53
