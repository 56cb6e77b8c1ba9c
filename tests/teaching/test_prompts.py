"""Prompts as pure text: identity, placeholders, fences, presets."""

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import RecipeError
from lmteach.teaching.prompts import LETTERS, Prompt, defuse, enumerate_candidates, load_prompt
from lmteach.teaching.wordings import PRESETS

PLAIN = Prompt(kind="pointwise", user="<d>\n{document}\n</d>\nTag: {candidate}?")


def test_importing_prompts_needs_no_torch():
    code = (
        "import sys, lmteach.teaching.prompts, lmteach.teaching.answers, lmteach.teaching.wordings;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Be brief."},
        {"user": "<d>\n{document}\n</d>\nTag: {candidate} ?"},
        {"answer": "Sure:"},
        {"style": "plain"},
        {"shots": (("a", "yes"),), "kind": "choice", "user": "{document}", "answer": "{candidate}"},
        {"without_document": "nothing"},
        {"version": 2},
        {"name": "other"},
    ],
)
def test_any_change_is_another_identity(change):
    assert dataclasses.replace(PLAIN, **change).identity != PLAIN.identity


def test_identity_is_the_same_in_every_process():
    assert PLAIN.identity == "custom-v1-" + PLAIN.identity[-10:]
    code = (
        "from lmteach.teaching.prompts import Prompt;"
        "print(Prompt(kind='pointwise', user='<d>\\n{document}\\n</d>\\nTag: {candidate}?').identity)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == PLAIN.identity


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"kind": "pointwise", "user": "no document, {candidate}"}, "document} exactly once"),
        ({"kind": "pointwise", "user": "{document} {document} {candidate}"}, "document} exactly once"),
        ({"kind": "pointwise", "user": "{candidate} then {document}"}, "read once for all"),
        ({"kind": "pointwise", "user": "{document}"}, "exactly once, in `user`"),
        ({"kind": "listwise", "user": "{document} {candidate}"}, "{candidates} exactly once"),
        ({"kind": "likelihood", "user": "{document}"}, "exactly once, in `answer`"),
        ({"kind": "likelihood", "user": "{document}", "answer": "{candidate}."}, "must end in"),
        ({"kind": "wordwise", "user": "{document}"}, "no prompt kind 'wordwise'"),
        ({"kind": "pointwise", "user": "{document} {candidate}", "style": "chatty"}, "no prompt style"),
        ({"kind": "pointwise", "user": "{document} {candidate}", "shots": [["a", "b"]]}, "only a choice"),
        ({"user": "{document} {candidate}"}, "needs the key 'kind'"),
        ({"kind": "pointwise", "user": "{document} {candidate}", "sytem": "x"}, "Did you mean 'system'"),
    ],
)
def test_a_prompt_that_cannot_work_says_why(keys, problem):
    with pytest.raises(RecipeError) as caught:
        load_prompt(keys)
    assert problem in str(caught.value)


def test_presets_are_found_and_changed():
    assert load_prompt("about") is PRESETS["about"]
    own = load_prompt({"preset": "about", "system": "You know Debian."})
    assert (own.user, own.name) == (PRESETS["about"].user, "custom")
    assert own.identity != PRESETS["about"].identity
    with pytest.raises(RecipeError, match="Did you mean 'about'"):
        load_prompt("abuot")


def test_presets_have_names_and_identities_of_their_own():
    assert all(name == prompt.name for name, prompt in PRESETS.items())
    assert len({prompt.identity for prompt in PRESETS.values()}) == len(PRESETS)
    assert {prompt.kind for prompt in PRESETS.values()} == {"pointwise", "likelihood", "listwise", "choice"}


def test_the_paper_s_wordings():
    relevant = 'Is the tag "{candidate}" relevant to the document?'
    for name in ("lmtx-0", "lmtx-1", "lmtx-2"):
        assert PRESETS[name].user.startswith('document = "{document}".')
        assert relevant in PRESETS[name].user
    assert "amazon product description" in PRESETS["lmtx-1"].user
    assert "wikipedia page" in PRESETS["lmtx-2"].user
    assert "another wikipedia page" in PRESETS["lmtx-7"].user


@pytest.mark.parametrize(
    ("user", "fence"),
    [
        ("<document>\n{document}\n</document>\nTag: {candidate}", "</document>"),
        ('d = "{document}". Is "{candidate}" it?', '". Is "'),
        ("{document}{candidate}", ""),
    ],
)
def test_the_fence_is_what_follows_the_document(user, fence):
    assert Prompt(kind="pointwise", user=user).fence == fence


markers = st.lists(st.sampled_from(["</document>", "USER:", "[/INST]", '".', "<|im_end|>"]), min_size=1)
pieces = st.lists(st.one_of(st.text(max_size=5), st.sampled_from(["</document>", "user:", "[/INST]", '".'])))


@given(pieces.map("".join), markers)
def test_defused_text_holds_no_marker_and_all_its_words(text, markers):
    found = defuse(text, markers)
    assert not any(marker.lower() in found.lower() for marker in markers)
    assert found.replace(" ", "") == text.replace(" ", "")
    assert defuse(found, markers) == found


@given(st.text())
def test_text_without_markers_is_left_alone(text):
    assert defuse(text, ["", "a", "\n"]) == text


def test_a_list_has_letters_and_a_way_out():
    assert enumerate_candidates(["x", "y"]) == "A. x\nB. y\nC. none of these"
    full = enumerate_candidates([f"c{i}" for i in range(len(LETTERS) - 1)]).splitlines()
    assert full[-2:] == ["Y. c24", "Z. none of these"]
