"""What requests and answers look like: the source of the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

MAX_TOP_K = 100


class Tag(BaseModel):
    """A label of a text."""

    label: str
    score: float = Field(description="cosine (tagger) or class probability (classifier)")
    probability: float | None = Field(description="how likely the label is right; null where not calibrated")


class Answer(BaseModel):
    """A text's labels, best first."""

    tags: list[Tag]


class Answers(BaseModel):
    """One answer a text, in the order of the texts."""

    predictions: list[Answer]


class Labels(BaseModel):
    """A part of the label set."""

    n_labels: int = Field(description="labels that match, in all")
    labels: list[str]


class Health(BaseModel):
    """What is being served."""

    status: Literal["ok"]
    name: str
    kind: Literal["tagger", "classifier"]
    backend: Literal["onnx", "torch"]
    n_labels: int
    thresholds: dict[str, float] = Field(description="named thresholds, as probabilities")
    max_texts: int = Field(description="texts a request at most")
    version: str


class Problem(BaseModel):
    """What is wrong."""

    detail: str


def _whole(value: Any) -> Any:
    """Return 5 for 5.0: to JSON they are one integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def request_model(
    thresholds: list[str], *, calibrated: bool, max_texts: int, max_characters: int
) -> type[BaseModel]:
    """Return the model of a request to this student: it offers the thresholds that the student has.

    Args:
        calibrated: whether a probability may be a threshold.
    """
    kinds: list[Any] = [None]
    if thresholds:
        kinds.append(Literal[tuple(thresholds)])
    if calibrated:
        kinds.append(Annotated[float, Field(ge=0, le=1)])
    text = Annotated[str, Field(min_length=1, max_length=max_characters)]
    threshold: Any = Union[tuple(kinds)]  # noqa: UP007
    return create_model(
        "PredictRequest",
        __config__=ConfigDict(extra="forbid", strict=True),
        __doc__="Texts to be tagged.",
        texts=(
            Annotated[list[text], Field(min_length=1, max_length=max_texts)],
            Field(description="the texts", examples=[["How do I read a file line by line?"]]),
        ),
        top_k=(
            Annotated[int, Field(ge=1, le=MAX_TOP_K), BeforeValidator(_whole)],
            Field(5, description="labels a text at most"),
        ),
        threshold=(
            threshold,
            Field(None, description="keep only tags above a named threshold, or above a probability"),
        ),
    )
