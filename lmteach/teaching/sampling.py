"""How a model writes an answer in words. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from lmteach.errors import RecipeError


@dataclass(frozen=True)
class Sampling:
    """How an answer is written. `temperature` 0 takes the likeliest token; `top_k` 0 samples from all."""

    max_tokens: int = 10
    temperature: float = 0.0
    top_k: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.temperature < 0 or self.top_k < 0:
            raise RecipeError(
                "max_answer_tokens is 1 or more, temperature and top_k are 0 or more.", where="teacher"
            )

    @property
    def identity(self) -> str:
        """What decides an answer, but for the reader."""
        drawn = f" t{self.temperature:g} k{self.top_k} seed{self.seed}" if self.temperature else ""
        return f"text{self.max_tokens}{drawn}"
