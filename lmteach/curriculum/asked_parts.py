"""Judgements in Parquet shards, dealt to workers so that no two of them ask about the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmteach.curriculum.dealing import deal
from lmteach.types import Judgement

PARTS_A_WORKER = 4  # at least, so that none is idle for long while another does the last one
LARGEST_PART = 2048  # documents


@dataclass(frozen=True)
class Asked:
    """What the teacher is asked of one split."""

    split: str
    judgements: Sequence[Judgement]


def write_parts(folder: Path, asked: Sequence[Asked], n_workers: int) -> list[Path]:
    """Write the judgements of each part to a Parquet file; return the files, those of the first split first."""
    texts = [(judgement.document for judgement in a.judgements) for a in asked]
    sizes = [len(a.judgements) for a in asked]
    n_parts = [min(n, max(PARTS_A_WORKER * n_workers, -(-n // LARGEST_PART))) for n in sizes]
    paths = []
    for number, part in enumerate(deal(texts, n_parts)):
        rows = [
            {"split": a.split, **asdict(a.judgements[row])}
            for a, rows in zip(asked, part, strict=True)
            for row in rows
        ]
        if rows:
            paths.append(folder / f"judgements-{number:06d}.parquet")
            _write(paths[-1], rows)
    return paths


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {
            "split": pa.string(),
            "document": pa.large_string(),
            "candidates": pa.list_(pa.string()),
            "document_id": pa.string(),
            "title": pa.string(),
            "label_ids": pa.list_(pa.int64()),
            "student_scores": pa.list_(pa.float64()),
            "descriptions": pa.list_(pa.string()),
        }
    )
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


def read_part(path: Path) -> dict[str, list[Judgement]]:
    """Return a part's judgements by split."""
    import pyarrow.parquet as pq

    found: dict[str, list[Judgement]] = {}
    for row in pq.read_table(path).to_pylist():
        lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
        found.setdefault(row.pop("split"), []).append(Judgement(**(row | lists)))
    return found
