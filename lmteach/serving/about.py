"""`serving.json`: what a student's folder says of itself, enough to serve it without its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmteach.errors import RunError
from lmteach.serving.thresholds import ScoreCalibration
from lmteach.tracking.run_folder import read_json, write_json

ABOUT = "serving.json"
FORMAT = 1


@dataclass(frozen=True)
class OnnxFile:
    """A student's graph for onnxruntime, and how far it is from the student.

    Attributes:
        path: within the folder.
        greatest_difference: over all numbers of the vectors of `n_texts` real texts.
        least_cosine: between the two vectors of one text.
        same_first_label: share of the texts whose nearest label is the same.
    """

    path: str
    greatest_difference: float
    least_cosine: float
    same_first_label: float
    n_texts: int
    int8: bool = False


@dataclass(frozen=True)
class About:
    """What is needed to serve a student.

    Attributes:
        kind: `tagger` or `classifier`.
        name: the recipe's.
        encoder: the recipe's section, without its model: that is the folder itself.
        searcher: the recipe's section.
        precision: the recipe's `search.precision`.
        text: the template from a document's fields to its text.
        label_text: the template from a label's fields to its text.
        search_length, label_length: where a document and a label are cut, in tokens.
        calibration: probabilities and thresholds; None where there was nothing to fit them on.
        onnx: None where it was not exported.
    """

    kind: str
    name: str
    encoder: Mapping[str, Any] = field(default_factory=dict)
    searcher: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "auto"
    text: str = "{text}"
    label_text: str = "{name}"
    search_length: int = 0
    label_length: int = 0
    calibration: ScoreCalibration | None = None
    onnx: OnnxFile | None = None
    version: str = ""
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write it into a student's folder."""
        write_json(folder / ABOUT, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> About:
        """Read what `save` wrote.

        Raises:
            RunError: it is missing, damaged, or of a later format.
        """
        path = folder / ABOUT
        try:
            values = dict(read_json(path))
            if values.get("format") != FORMAT:
                raise RunError(
                    f"This student is of format {values.get('format')}, and this lmteach reads format {FORMAT}.",
                    where=str(path),
                    mend="Use the lmteach that wrote it, or export the run again.",
                )
            if values["calibration"] is not None:
                values["calibration"] = ScoreCalibration.from_dict(values["calibration"])
            if values["onnx"] is not None:
                values["onnx"] = OnnxFile(**values["onnx"])
            return cls(**values)
        except FileNotFoundError as error:
            raise RunError(
                "There is no student here.",
                where=str(folder),
                mend="Name a run folder, or a folder that `lmteach export` wrote.",
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"This cannot be read: {error}.", where=str(path)) from error
