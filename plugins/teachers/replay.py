"""The `replay` teacher: answers from a file, be it an export of a store or what a human has filled in."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from lmteach.corpus.formats.csv import read_rows
from lmteach.corpus.lines import json_records, read_lines
from lmteach.corpus.records import Record
from lmteach.errors import TeacherError, nearest_name
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.records import list_keys, pair_keys
from lmteach.teaching.reviewing import read_answers
from lmteach.types import Judgement, Scope, Verdict

YES, NO = 5.0, -5.0  # log-odds of a plain answer
ANSWERS: Mapping[str, float | None] = {
    **dict.fromkeys(("yes", "y", "true", "1", "relevant"), YES),
    **dict.fromkeys(("no", "n", "false", "0", "irrelevant"), NO),
    **dict.fromkeys(("", "?", "unread", "unsure", "none"), None),
}
COLUMNS = ("document_id", "document", "candidate", "answer", "score")

Found = tuple[bool, float | None]  # whether the pair is answered, and its score
ABSENT: Found = (False, None)


class ReplayTeacher:
    """Looks each answer up.

    The file is what `lmteach store export` writes, found by content; or a table (.csv, .tsv, .jsonl,
    each also .gz) with the columns `document_id` or `document` (the text), `candidate`, and `answer` (yes,
    no, or empty for unread) or `score` (log-odds). A plain yes counts as log-odds 5, a no as -5. Or it is what
    people answered in Argilla or Label Studio (.json): the classes they chose are yes, the others no, and what
    they skipped or disagreed about is unread. Classes go by their labels' names or by what the teacher is shown.
    """

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: replay`.

        Attributes:
            path: the file; relative to the recipe's folder.
            missing: what becomes of a pair that the file does not answer.
            teacher: of an export with several teachers, the one to replay: its identity or a part of it.
        """

        path: str = ""
        missing: Literal["unread", "error"] = "unread"
        teacher: str = ""

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        self.config = config
        self._labels = () if resources.corpus is None else resources.corpus.labels.names
        self.path = resources.folder / Path(config.path).expanduser()
        if not config.path or not self.path.is_file():
            raise TeacherError(f"There is no file '{self.path}' to replay.", where="teacher.path")
        if config.missing not in ("unread", "error"):
            raise TeacherError(f"There is no '{config.missing}'.", where="teacher.missing")

    @cached_property
    def identity(self) -> str:
        """The file's content and how it is read."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        chosen = f" teacher={self.config.teacher}" if self.config.teacher else ""
        return f"replay sha256={digest.hexdigest()[:32]} missing={self.config.missing}{chosen}"

    @property
    def scope(self) -> Scope:
        """Never stored: it costs nothing."""
        return "none"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Look up every answer.

        Raises:
            TeacherError: the file has a fault, or does not answer a pair and `missing` is `error`.
            CorpusError: the file cannot be read.
        """
        return [self._answer(judgement) for judgement in batch]

    def close(self) -> None:
        """Forget the answers; they are read again when asked for."""
        self.__dict__.pop("_answers", None)

    @cached_property
    def _answers(self) -> _Answers:
        name = self.path.name.removesuffix(".gz").removesuffix(".zst")
        if name.endswith((".csv", ".tsv")):
            return _Table(read_rows(self.path))
        if name.endswith(".json"):
            return _Human(self.path, self._labels)
        _, first = next(read_lines(self.path), (1, ""))
        if '"lmteach_store"' in first:
            return _Export(self.path, self.config.teacher)
        return _Table(json_records(self.path))

    def _answer(self, judgement: Judgement) -> Verdict:
        found = self._answers.find(judgement)
        if self.config.missing == "error":
            for candidate, (known, _) in zip(judgement.candidates, found, strict=True):
                if not known:
                    document = judgement.document_id or repr(judgement.document[:40])
                    raise TeacherError(
                        f"It has no answer for the candidate '{candidate}'.",
                        where=f"{self.path}, document {document}",
                        mend="Add the line, or set teacher.missing=unread.",
                    )
        return Verdict(tuple(score for _, score in found))


class _Answers(Protocol):
    def find(self, judgement: Judgement) -> list[Found]: ...


class _Export:
    """Answers by the store's keys, as which texts were asked about is not in an export."""

    def __init__(self, path: Path, teacher: str) -> None:
        from lmteach.teaching.store_transfer import read_export

        scores: dict[str, dict[bytes, float | None]] = {}
        for record in read_export(path):
            scores.setdefault(record.teacher, {})[record.key] = record.score
        self.identity = _pick(sorted(scores), teacher, path)
        self.scores = scores[self.identity]

    def find(self, judgement: Judgement) -> list[Found]:
        asked = (self.identity, judgement.document, judgement.questions)
        return [
            next(((True, self.scores[key]) for key in keys if key in self.scores), ABSENT)
            for keys in zip(pair_keys(*asked), list_keys(*asked), strict=True)
        ]


def _pick(identities: Sequence[str], wanted: str, path: Path) -> str:
    found = [i for i in identities if i == wanted] or [i for i in identities if wanted in i]
    if len(found) == 1:
        return found[0]
    listed = "\n  ".join(identities)
    raise TeacherError(
        f"The export holds {len(found)} teachers that fit '{wanted}'.",
        where=str(path),
        mend=f"Name one by teacher.teacher:\n  {listed}" if listed else "It is empty.",
    )


class _Table:
    """Answers by document id, or by text where a row names no id."""

    def __init__(self, rows: Iterator[Record]) -> None:
        self.by_id: dict[tuple[str, str], tuple[float | None, str]] = {}
        self.by_text: dict[tuple[str, str], tuple[float | None, str]] = {}
        for row in rows:
            self._add(row.where, row.fields)

    def find(self, judgement: Judgement) -> list[Found]:
        return [self._find(judgement, candidate) for candidate in judgement.candidates]

    def _find(self, judgement: Judgement, candidate: str) -> Found:
        for table, name in ((self.by_id, judgement.document_id), (self.by_text, judgement.document)):
            if (name, candidate) in table:
                return True, table[name, candidate][0]
        return ABSENT

    def _add(self, where: str, row: Mapping[str, Any]) -> None:
        unknown = [name for name in row if name not in COLUMNS]
        if "candidate" not in row or not {"document_id", "document"} & set(row):
            raise TeacherError(
                "A row needs a candidate, and a document_id or document.",
                where=where,
                nearest=nearest_name(unknown[0], COLUMNS) if unknown else None,
            )
        document_id = row.get("document_id")
        by_id = document_id is not None and str(document_id) != ""
        table, name = (self.by_id, str(document_id)) if by_id else (self.by_text, str(row.get("document")))
        key, score = (name, str(row["candidate"])), _score(row, where)
        if key in table and table[key][0] != score:
            raise TeacherError(
                f"The candidate '{key[1]}' has another answer here than at {table[key][1]}.",
                where=where,
                mend="Keep one of the two.",
            )
        table[key] = (score, where)


class _Human:
    """Answers by the classes that people chose, by document id, else by text."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        answers = read_answers(path)
        self.by_id = {answer.document_id: answer for answer in answers if answer.document_id}
        self.by_text = {answer.text: answer for answer in answers}
        self.labels = labels

    def find(self, judgement: Judgement) -> list[Found]:
        answer = self.by_id.get(judgement.document_id) or self.by_text.get(judgement.document)
        if answer is None:
            return [ABSENT] * len(judgement.candidates)
        if not answer.classes:
            return [(True, None)] * len(judgement.candidates)
        ids = judgement.label_ids or (-1,) * len(judgement.candidates)
        shown = zip(judgement.candidates, ids, strict=True)
        names = [
            {candidate, self.labels[i]} if 0 <= i < len(self.labels) else {candidate}
            for candidate, i in shown
        ]
        return [(True, YES if own & set(answer.classes) else NO) for own in names]


def _score(row: Mapping[str, Any], where: str) -> float | None:
    """Return a row's score: its `score` where it has one, else what its `answer` says."""
    given = row.get("score")
    if given is not None and str(given).strip():
        try:
            score = float(given)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise TeacherError(f"The score {given!r} is no number.", where=where)
        return score
    answer = str("" if row.get("answer") is None else row["answer"]).strip().lower()
    if answer not in ANSWERS:
        raise TeacherError(f"The answer '{answer}' is neither yes nor no.", where=where)
    if "answer" not in row and "score" not in row:
        raise TeacherError("A row needs an answer or a score.", where=where)
    return ANSWERS[answer]
