"""From raw records to documents and labels that obey the rules; each broken rule names its file and line."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmteach.corpus.corpus import LabelSet
from lmteach.corpus.records import LABEL_FIELDS, ReadOptions, Record, Source
from lmteach.corpus.template import Template, as_text
from lmteach.errors import CorpusError, nearest_name
from lmteach.types import Document

_log = logging.getLogger(__name__)
_FIELDS_SEEN_WITHIN = 1000  # records after which a field that none of them had is called unknown
_PLACES_SHOWN = 5


class CountedRecords(Iterator[Record]):
    """Passes records on and counts them, those that are left out later included."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records, self.n = records, 0

    def __next__(self) -> Record:
        record = next(self._records)
        self.n += 1
        return record


class KnownLabels:
    """A label set with the index from name to id that readers need."""

    def __init__(self, labels: LabelSet, place: str) -> None:
        self.labels, self.place = labels, place
        self._ids = {name: i for i, name in enumerate(labels.names)}

    def resolve(self, value: Any, where: str) -> tuple[int, ...] | None:
        """Return the sorted label ids that a `labels` field means: ids, names, or a single one of either.

        Raises:
            CorpusError: an id out of range, an unknown name, or something else altogether.
        """
        if value is None:
            return None
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(sorted({self._resolve_one(v, where) for v in values}))

    def _resolve_one(self, value: Any, where: str) -> int:
        if isinstance(value, str):
            if (name := value.strip()) in self._ids:
                return self._ids[name]
            raise CorpusError(
                f"There is no label '{value}' in {self.place}.",
                where=where,
                nearest=nearest_name(value, self._ids),
            )
        if isinstance(value, int) and not isinstance(value, bool):
            if 0 <= value < len(self.labels):
                return value
            raise CorpusError(
                f"Label id {value} is out of range: {self.place} has {len(self.labels)} labels, "
                f"so ids go from 0 to {len(self.labels) - 1}.",
                where=where,
            )
        raise CorpusError(f"A label is no name or id but {type(value).__name__}.", where=where)


def check_labels(source: Source, options: ReadOptions) -> KnownLabels:
    """Read a source's label set and check it.

    Raises:
        CorpusError: fewer than two labels, an empty or repeated name, an unknown field in `label_text`.
    """
    if source.labels is None:
        names = sorted({name for stream in source.splits.values() for name in _names_borne(stream())})
        records = [Record({"name": name}, "the documents' labels", i + 1) for i, name in enumerate(names)]
    else:
        records = list(source.labels())
    place = records[0].file if records else str(source.files[0].parent)
    if len(records) < 2:
        raise CorpusError(
            f"The label set has {len(records)} label{'' if len(records) == 1 else 's'}; "
            "choosing among labels takes at least two.",
            where=place,
            mend=None if source.labels else "Put a labels.txt beside the documents: one label a line.",
        )
    template = Template(options.label_text, "corpus.label_text")
    template.check_known({key for record in records for key in record.fields}, place)
    names_seen = _unique_names(records, strict=source.unique_names)
    texts = tuple(template.fill(record.fields, record.where) for record in records)
    for record, text in zip(records, texts, strict=True):
        if not text.strip():
            raise CorpusError("The label's text is empty.", where=record.where)
    return KnownLabels(LabelSet(tuple(names_seen), texts), place)


def _names_borne(records: Iterator[Record]) -> Iterator[str]:
    for record in records:
        value = _gold_field(record.fields)
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str):
                yield name.strip()
            elif name is not None:
                raise CorpusError(
                    f"The label {name!r} is a number, and there is no label set to look it up in.",
                    where=record.where,
                    mend="Put a labels.txt beside the documents: one label a line, the first one is label 0.",
                )


def _unique_names(records: Sequence[Record], *, strict: bool) -> list[str]:
    """Return the labels' names; where an `id` or number tells labels apart, repeated names get it added."""
    first: dict[str, Record] = {}
    first_ids: dict[str, Record] = {}
    for i, record in enumerate(records):
        name, id_ = (as_text(record.fields.get(f), f, record.where).strip() for f in ("name", "id"))
        if not name:
            raise CorpusError("The label has no name.", where=record.where)
        if id_ and id_ in first_ids:
            raise CorpusError(
                f"The label id '{id_}' is there twice: first on line {first_ids[id_].line}.",
                where=record.where,
            )
        if name in first and strict and not id_:
            raise CorpusError(
                f"The label '{name}' is there twice: first on line {first[name].line}.",
                where=record.where,
                mend="Rename one of the two, or tell them apart by a label_ids.txt beside it: one id a line.",
            )
        first_ids[id_] = record
        while name in first:
            name = f"{name} ({id_ or i})"
        first[name] = record
    return list(first)


def check_documents(
    records: Iterator[Record], split: str, options: ReadOptions, known: KnownLabels
) -> Iterator[Document]:
    """Turn one split's records into documents.

    Args:
        records: the split's raw records.
        split: its name, which also makes up ids where there are none.
        options: how fields become texts.
        known: the label set.

    Raises:
        CorpusError: a document breaks a rule. Empty documents are counted to the end, then reported together.
    """
    template = Template(options.text, "corpus.text")
    unseen, fields_known = set(template.fields), set[str]()
    empty: list[str] = []
    n = n_empty = 0
    where = split
    for record in records:
        where = record.where
        if unseen:
            fields_known.update(record.fields)
            unseen.difference_update(record.fields)
            if n == _FIELDS_SEEN_WITHIN:
                template.check_known(fields_known, where)
        text = template.fill(record.fields, where)
        n += 1
        if not text.strip():
            n_empty += 1
            if len(empty) < _PLACES_SHOWN:
                empty.append(where)
            continue
        yield _document(record, text, document_id(record, split, n - 1), known)
    if not n:
        raise CorpusError(f"The {split} split holds no document.", where=where)
    if unseen:
        template.check_known(fields_known, where)
    if n_empty and options.empty != "drop":
        raise _empty_error(n_empty, n, split, empty)
    if n_empty == n:
        raise CorpusError(f"All {n} documents of the {split} split are empty.", where=empty[0])
    if n_empty:
        _log.warning("%d of %d documents of the %s split have no text and are left out", n_empty, n, split)


def _empty_error(n_empty: int, n: int, split: str, places: Sequence[str]) -> CorpusError:
    shown = ", ".join(places) + (", ..." if n_empty > len(places) else "")
    return CorpusError(
        f"{n_empty} of {n} documents of the {split} split have no text ({shown}).",
        where=places[0],
        mend="Give them text, make corpus.text of more fields (say '{title}\\t{text}'), "
        "or leave them out with corpus.empty=drop.",
    )


def document_id(record: Record, split: str, n: int) -> str:
    """Return a record's id, or one made of its split and its place `n` there."""
    return as_text(record.fields.get("id"), "id", record.where) or f"{split}-{n}"


def _document(record: Record, text: str, id_: str, known: KnownLabels) -> Document:
    where, fields = record.where, record.fields
    title = as_text(fields.get("title"), "title", where)
    return Document(id_, text, known.resolve(_gold_field(fields), where), title)


def _gold_field(fields: Mapping[str, Any]) -> Any:
    for name in LABEL_FIELDS:
        if name in fields:
            return fields[name]
    return None
