"""Published figures on a run's corpus, with their source; none is given that was not read in a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

READ = {"authors": "as the authors published it", "secondary": "as a later paper repeats it"}


@dataclass(frozen=True)
class PaperTable:
    """The rows of one source on one corpus; metrics by method, as shares."""

    corpus: str
    source: str
    read: str
    rows: Mapping[str, Mapping[str, float]]


def find_tables(corpus: str) -> list[PaperTable]:
    """Return the published tables on a corpus, by its name in the catalogue; punctuation does not matter."""
    wanted = _plain(corpus)
    return [table for table in all_tables() if _plain(table.corpus) == wanted]


@cache
def all_tables() -> tuple[PaperTable, ...]:
    """Return every published table that this package knows."""
    import yaml

    text = (resources.files(__package__) / "paper_figures.yaml").read_text(encoding="utf-8")
    return tuple(
        PaperTable(
            entry["corpus"],
            entry["source"],
            entry["read"],
            {row["method"]: {k: float(v) for k, v in row.items() if k != "method"} for row in entry["rows"]},
        )
        for entry in yaml.safe_load(text)
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
