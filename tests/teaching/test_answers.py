"""Answer tokens and the readers of generated text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.teaching.answers import READERS, read_yes_no, single_token_ids, spellings

POSITIVE_NEGATIVE = ("negative", "positive")


def words(vocabulary):
    """A tokenizer that knows whole words and letters."""

    def tokenize(text, add_special_tokens):
        assert not add_special_tokens
        ids = [vocabulary[text]] if text in vocabulary else [1000 + ord(c) for c in text]
        return {"input_ids": ids}

    return tokenize


def test_every_single_token_that_spells_an_answer_is_found():
    tokenizer = words({"yes": 1, "Yes": 2, " yes": 3, " YES": 4, "yeS": 5, "yes ": 6})
    assert single_token_ids(tokenizer, "yes") == (1, 2, 3, 4)
    assert single_token_ids(tokenizer, "no") == ()


def test_a_letter_is_one_case_only():
    assert single_token_ids(words({"A": 1, " A": 2, "a": 3}), "A") == (1, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("positive", ("positive", "Positive")),
        ("NASA news", ("NASA news", "nASA news")),
        ("", ("",)),
        ("42", ("42",)),
    ],
)
def test_spellings(name, expected):
    assert spellings(name) == expected


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("Yes", True),
        ("yes, it is relevant", True),
        ("No.", False),
        (" no", False),
        ("The answer is yes", None),  # behind the tenth character
        ("I know not", None),  # "no" inside words
        ("yes or no", None),
        ("", None),
        ("Nope", None),
    ],
)
def test_lmtx_reads_the_first_ten_characters(answer, says):
    assert read_yes_no(answer) is says


@pytest.mark.parametrize(
    ("answer", "contains", "exact"),
    [
        ("positive", 1, 1),
        (" Negative.\n", 0, 0),
        ("The sentiment is positive", 1, None),
        ("positive, not negative", None, None),
        ("It is neither", None, None),
        ("'positive'", 1, None),
        ("nonpositive", None, None),
        ("", None, None),
    ],
)
def test_llambert_s_two_readers_differ(answer, contains, exact):
    assert READERS["contains"].read(answer, POSITIVE_NEGATIVE) == contains
    assert READERS["exact"].read(answer, POSITIVE_NEGATIVE) == exact


def test_a_name_inside_a_longer_name_does_not_count():
    classes = ("music", "music videos", "videos")
    assert READERS["contains"].read("These are music videos", classes) == 1
    assert READERS["contains"].read("videos of music", classes) is None


def test_readers_name_their_version():
    assert {reader.identity for reader in READERS.values()} == {"begins-v1", "contains-v1", "exact-v1"}


names = st.text("abcdefgh ", min_size=1).map(str.strip).filter(bool)


@given(st.lists(names, min_size=1, unique=True), st.data(), st.sampled_from(sorted(READERS)))
def test_a_class_name_alone_is_read_as_itself(classes, data, reader):
    i = data.draw(st.integers(0, len(classes) - 1))
    if reader == "begins" and (len(classes[i]) > 10 or len(classes) > 1):
        classes, i = [classes[i][:10].strip()], 0
    assert READERS[reader].read(f" {classes[i].upper()}", classes) in (
        i,
        *([None] if reader == "begins" else []),
    )


@given(st.text(), st.sampled_from(sorted(READERS)))
def test_any_text_is_read_or_not_without_error(answer, reader):
    found = READERS[reader].read(answer, POSITIVE_NEGATIVE)
    assert found is None or POSITIVE_NEGATIVE[found] in answer.lower()


@given(st.text(), st.sampled_from(sorted(READERS)))
def test_renaming_the_classes_swaps_the_answer(answer, reader):
    found = READERS[reader].read(answer, POSITIVE_NEGATIVE)
    swapped = READERS[reader].read(answer, POSITIVE_NEGATIVE[::-1])
    assert swapped == (None if found is None else 1 - found)
