"""The encoder plugin: built from a recipe's section, strict about what makes no sense."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lmteach import registry
from lmteach.errors import LmteachError, PluginError, RecipeError, TeacherError
from lmteach.students.protocol import Encoder


def test_a_section_becomes_an_encoder(minilm1: Path) -> None:
    section = {
        "name": "transformers",
        "model": str(minilm1),
        "label_length": 5,
        "pooling": "cls",
        "dropout": 0.0,
    }
    encoder = registry.build("encoder", section)
    assert isinstance(encoder, Encoder)
    long = "one two three four five six seven"
    assert [len(encoder.tokenize([long], kind)[0]) for kind in ("label", "search", "document")] == [5, 9, 9]
    assert encoder.pooling == "cls"
    assert encoder.lengths == {"document": 450, "search": 430, "label": 5}


def test_its_config_is_the_papers() -> None:
    config = registry.load("encoder", "transformers").Config()
    assert (config.model, config.pooling) == ("sentence-transformers/msmarco-distilbert-base-v4", "mean")
    assert (config.document_length, config.search_length, config.label_length) == (450, 430, 15)


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ({"label_length": 2}, RecipeError, r"student\.encoder\.label_length: It is 2; it must be 3 or more"),
        ({"document_length": 0}, RecipeError, r"student\.encoder\.document_length"),
        ({"search_length": -1}, RecipeError, r"student\.encoder\.search_length"),
        ({"dropout": 1.0}, RecipeError, r"student\.encoder\.dropout: It is 1\.0"),
        ({"dropout": -0.1}, RecipeError, r"student\.encoder\.dropout"),
        ({"pooling": "max"}, RecipeError, "max"),
        ({"model": "./nowhere"}, TeacherError, "There is no model at .*nowhere"),
        ({"model": "package:no_such_weights/model"}, PluginError, "pip install no-such-weights"),
    ],
)
def test_what_makes_no_sense_is_refused(keys, error: type[LmteachError], said: str, minilm1: Path) -> None:
    with pytest.raises(error, match=said):
        registry.build("encoder", {"name": "transformers", "model": str(minilm1), **keys})


def test_reading_its_keys_costs_no_torch() -> None:
    script = (
        "import sys; from lmteach import registry; registry.load('encoder', 'transformers').Config();"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
