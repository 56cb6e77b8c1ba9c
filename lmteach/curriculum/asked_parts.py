"""Judgements in Parquet shards, dealt to workers so that no two of them ask about the same text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    texts = [_Texts(a.judgements) for a in asked]
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


def deal(texts: Sequence[Sequence[str]], n_parts: Sequence[int]) -> list[list[list[int]]]:
    """Deal each split's rows to its parts in turn, equal texts to the same part, whichever split they are of.

    So no two workers ask about one text at the same time.

    Args:
        texts: of each split.
        n_parts: how many parts each split gets, 0 where it has no rows.

    Returns:
        of each part the rows of each split: a later split's rows in an earlier one's part are those with its texts.
    """
    keys: dict[bytes, int] = {}
    turn, first = [0] * len(texts), [sum(n_parts[:split]) for split in range(len(texts))]
    dealt: list[list[list[int]]] = [[[] for _ in texts] for _ in range(sum(n_parts))]
    for split, column in enumerate(texts):
        for row, text in enumerate(column):
            key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()
            if key not in keys:
                keys[key] = first[split] + turn[split] % n_parts[split]
                turn[split] += 1
            dealt[keys[key]][split].append(row)
    return dealt


class _Texts(Sequence[str]):
    """The documents of judgements, one by one."""

    def __init__(self, judgements: Sequence[Judgement]) -> None:
        self._judgements = judgements

    def __len__(self) -> int:
        return len(self._judgements)

    def __getitem__(self, row: Any) -> Any:
        return self._judgements[row].document


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
