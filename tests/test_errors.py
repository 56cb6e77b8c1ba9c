"""Errors that a user can act on."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach import errors
from lmteach.errors import LmteachError, RecipeError, missing_package, nearest_name


def test_the_text_says_where_what_nearest_and_how_to_mend() -> None:
    assert str(LmteachError("It broke.")) == "It broke."
    full = RecipeError("There is no key 'lrr'.", where="x.yaml:3", nearest="lr", mend="Write lr.")
    assert str(full) == "x.yaml:3: There is no key 'lrr'. Did you mean 'lr'?\n  Write lr."
    assert (full.what, full.where, full.nearest, full.mend) == (
        "There is no key 'lrr'.",
        "x.yaml:3",
        "lr",
        "Write lr.",
    )


@pytest.mark.parametrize("name", ["Recipe", "Corpus", "Plugin", "Teacher", "Store", "Run"])
def test_every_area_has_its_error(name: str) -> None:
    assert issubclass(getattr(errors, f"{name}Error"), LmteachError)


def test_an_error_survives_another_process() -> None:
    """Worker processes hand their errors over pickled."""
    error = pickle.loads(pickle.dumps(RecipeError("a", where="b", nearest="c", mend="d")))
    assert str(error) == "b: a Did you mean 'c'?\n  d"


def test_the_nearest_name_is_near_or_none() -> None:
    assert nearest_name("batchsize", ["batch_size", "epochs"]) == "batch_size"
    assert nearest_name("xyz", ["batch_size", "epochs"]) is None
    assert nearest_name("x", []) is None


@given(st.text(max_size=20), st.lists(st.text(max_size=20)))
def test_the_nearest_name_is_one_of_the_known(name: str, known: list[str]) -> None:
    found = nearest_name(name, known)
    assert found is None or found in known
    assert name not in known or found == name or not name


def test_a_missing_package_comes_with_its_command() -> None:
    error = missing_package("vllm", needed_by="The teacher vllm", command="pip install 'lmteach[vllm]'")
    assert str(error) == (
        "The teacher vllm needs the package vllm, which is not installed.\n  pip install 'lmteach[vllm]'"
    )
