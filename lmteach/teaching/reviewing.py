"""Documents for a human's second look, as Argilla and Label Studio import them, and their answers read back.

Argilla: a JSON list that `dataset.records.from_json` takes, for a text field `text` and a label question `label`.
Label Studio: a JSON list of tasks with predictions, for a labelling configuration with
`<Text name="text" value="$text"/>` and `<Choices name="label" toName="text">`. What either exports after the work
(Label Studio: JSON or JSON-MIN) is what `read_answers` reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmteach.errors import CorpusError
from lmteach.tracking.run_folder import write_json

Tool = Literal["argilla", "label-studio"]
ID, QUESTION = "document_id", "label"


@dataclass(frozen=True)
class Review:
    """A document for a human: what the teacher said and how sure it was, and what speaks against it."""

    document_id: str
    text: str
    said: str
    confidence: float
    instead: str = ""


@dataclass(frozen=True)
class HumanAnswer:
    """What humans said of a document: the classes chosen by most of them, none where they skipped it."""

    document_id: str
    text: str
    classes: tuple[str, ...]


def export_reviews(path: Path, reviews: Sequence[Review], tool: Tool, teacher: str) -> None:
    """Write documents to review, whole or not at all.

    Args:
        teacher: named as the origin of the suggested label.
    """
    make = _argilla if tool == "argilla" else _label_studio
    write_json(path, [make(review, teacher) for review in reviews])


def _argilla(review: Review, teacher: str) -> dict[str, Any]:
    return {
        "id": review.document_id,
        "fields": {"text": review.text},
        "metadata": {"instead": review.instead} if review.instead else {},
        "suggestions": {
            QUESTION: {"value": review.said, "score": round(review.confidence, 6), "agent": teacher}
        },
        "responses": {},
        "vectors": {},
    }


def _label_studio(review: Review, teacher: str) -> dict[str, Any]:
    result = {
        "from_name": QUESTION,
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [review.said]},
    }
    return {
        "data": {"text": review.text, ID: review.document_id, "instead": review.instead},
        "predictions": [{"model_version": teacher, "score": round(review.confidence, 6), "result": [result]}],
    }


def read_answers(path: Path) -> list[HumanAnswer]:
    """Read what humans answered, from an export of Argilla or Label Studio.

    Raises:
        CorpusError: the file is no such export.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"The answers cannot be read: {error}.", where=str(path)) from error
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise CorpusError("An export of answers is a JSON list of objects.", where=str(path))
    answers = []
    for number, item in enumerate(content, 1):
        try:
            answers.append(_read(item))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorpusError(
                f"Entry {number} is neither of Argilla nor of Label Studio: {type(error).__name__} {error}.",
                where=str(path),
            ) from error
    return answers


def _read(item: Mapping[str, Any]) -> HumanAnswer:
    if "fields" in item:
        given = (item.get("responses") or {}).get(QUESTION) or []
        votes = [_as_classes(r["value"]) for r in given if r.get("status", "submitted") == "submitted"]
        return HumanAnswer(str(item["id"]), str(item["fields"]["text"]), _most(votes))
    if "data" in item:
        data = item["data"]
        done = [a for a in item.get("annotations", ()) if not a.get("was_cancelled")]
        votes = [tuple(choice for r in a["result"] for choice in _choices(r)) for a in done]
        return HumanAnswer(str(data.get(ID, "")), str(data["text"]), _most([v for v in votes if v]))
    chosen = item.get(QUESTION)  # Label Studio's JSON-MIN; a task that was skipped has no answer
    votes = [] if chosen is None else [_as_classes(chosen)]
    return HumanAnswer(str(item.get(ID, "")), str(item["text"]), _most(votes))


def _choices(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("type") == "choices" and result.get("from_name") == QUESTION:
        yield from (str(choice) for choice in result["value"]["choices"])


def _as_classes(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):  # JSON-MIN writes several choices as {"choices": [...]}
        value = value["choices"]
    return tuple(str(v) for v in value) if isinstance(value, list) else (str(value),)


def _most(votes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the answer that most humans gave; none where two answers have equally many."""
    ranked = Counter(tuple(sorted(vote)) for vote in votes).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return ()
    return ranked[0][0]
