"""Prices as dated data: `prices.yaml` beside this file, and any file of the same form over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach.errors import RecipeError
from lmteach.types import Usage

SHIPPED = Path(__file__).with_name("prices.yaml")


@dataclass(frozen=True)
class ModelPrice:
    """US dollars for a million tokens read (`input`) and written (`output`)."""

    input: float
    output: float

    def usd(self, usage: Usage) -> float:
        """Return what reading and writing these tokens costs."""
        return (usage.prompt_tokens * self.input + usage.answer_tokens * self.output) / 1e6


@dataclass(frozen=True)
class PriceTable:
    """Prices of models by name, and of machines by the hour.

    Attributes:
        dated: the day the prices held, as ISO text; several, where files were laid over each other.
        models: by name.
        machines: US dollars an hour, by name.
    """

    dated: str
    models: Mapping[str, ModelPrice]
    machines: Mapping[str, float]

    @classmethod
    def load(cls, override: Path | None = None) -> PriceTable:
        """Read the shipped table, and lay another over it, entry by entry.

        Raises:
            RecipeError: a file that is missing or is no price table.
        """
        table = _read(SHIPPED)
        if override is None:
            return table
        over = _read(override)
        dated = f"{table.dated}, overridden by {override.name} of {over.dated}"
        return cls(dated, {**table.models, **over.models}, {**table.machines, **over.machines})

    def model(self, name: str) -> ModelPrice | None:
        """Return the price of a model, or of the family it is a dated member of; None = not known."""
        bare = name.lower().rpartition("/")[2]
        if bare in self.models:
            return self.models[bare]
        family = max((known for known in self.models if _is_dated(bare, known)), key=len, default=None)
        return None if family is None else self.models[family]

    def machine(self, name: str) -> float | None:
        """Return a machine's price an hour; a GPU is found in the name that its driver gives it."""
        words = name.lower().replace("-", " ").split()
        if name.lower() in self.machines:
            return self.machines[name.lower()]
        return next((price for known, price in self.machines.items() if known in words), None)


def _is_dated(name: str, family: str) -> bool:
    """Whether `name` is `family` with a date after it; gpt-5-nano is not gpt-5."""
    rest = name.removeprefix(family)
    return rest != name and rest[:1] in "-@" and rest[1:].replace("-", "").isdigit()


def _read(path: Path) -> PriceTable:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"The price table cannot be read: {error}", where=str(path)) from error
    where = str(path)
    if (
        not isinstance(data, dict)
        or set(data) - {"dated", "source", "models", "machines"}
        or "dated" not in data
    ):
        raise RecipeError("A price table has the keys dated, source, models and machines.", where=where)
    models = {
        str(name).lower(): ModelPrice(
            _price(entry, "input", name, where), _price(entry, "output", name, where)
        )
        for name, entry in (data.get("models") or {}).items()
    }
    machines = data.get("machines") or {}
    return PriceTable(
        str(data["dated"]), models, {str(n).lower(): _price(machines, n, n, where) for n in machines}
    )


def _price(entry: Any, key: str, name: object, where: str) -> float:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise RecipeError(f"The price '{key}' of '{name}' is {value!r}, no amount of dollars.", where=where)
    return float(value)
