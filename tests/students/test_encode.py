"""Texts to vectors: order, batches, and what is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import LmteachError
from lmteach.students import encode
from lmteach.students.encode import encode_texts
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.token_batches import token_batches

TEXTS = [
    "Bread.",
    "",
    "The heap keeps the smallest item first and pushes in logarithmic time. " * 5,
    "naïve café ☃ שלום",
    "Regulation on the labelling of beef.",
    "a b c d e f g",
    "Bread.",
]


@pytest.fixture(scope="module")
def encoder(minilm1: Path) -> PooledEncoder:
    return PooledEncoder(str(minilm1), lengths={"document": 64, "search": 32, "label": 8})


def test_each_text_gets_its_own_vector_in_order(encoder: PooledEncoder) -> None:
    together = encode_texts(encoder, TEXTS, "search")
    alone = np.concatenate([encode_texts(encoder, [text], "search") for text in TEXTS])
    assert together.shape == (len(TEXTS), encoder.dim)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.abs(together[0] - together[4]).max() > 0.01, "unlike texts have unlike vectors"


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_the_batch_size_does_not_matter(encoder: PooledEncoder, batch_tokens: int) -> None:
    by_default = encode_texts(encoder, TEXTS, "search")
    np.testing.assert_allclose(
        encode_texts(encoder, TEXTS, "search", batch_tokens=batch_tokens), by_default, atol=1e-5
    )


def test_windows_do_not_matter(encoder: PooledEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_texts(encoder, TEXTS, "search")
    monkeypatch.setattr(encode, "WINDOW", 2)
    np.testing.assert_allclose(encode_texts(encoder, TEXTS, "search"), whole, atol=1e-5)


def test_a_text_is_cut_to_the_length_of_its_kind(encoder: PooledEncoder) -> None:
    long = "one two three four five six seven eight nine ten " * 20
    assert [len(encoder.tokenize([long], kind)[0]) for kind in ("document", "search", "label")] == [64, 32, 8]
    first_words = "one two three four five six"
    np.testing.assert_allclose(
        encode_texts(encoder, [long], "label"), encode_texts(encoder, [first_words], "label"), atol=1e-5
    )


def test_a_quick_encoding_ranks_alike(encoder: PooledEncoder) -> None:
    exact = encode_texts(encoder, TEXTS, "search")
    coarse = encode_texts(encoder, TEXTS, "search", precision="bf16")
    assert (exact * coarse).sum(1).min() > 0.999


def test_the_encoder_is_left_as_it_was(encoder: PooledEncoder) -> None:
    encoder.train()
    try:
        first = encode_texts(encoder, TEXTS, "search")
        assert encoder.training
        np.testing.assert_array_equal(first, encode_texts(encoder, TEXTS, "search"))  # without dropout
        loss = encoder(encoder.collate(encoder.tokenize(["a"], "label"))).sum()
        loss.backward()
        assert any(p.grad is not None for p in encoder.parameters())
    finally:
        encoder.zero_grad(set_to_none=True)
        encoder.eval()


def test_nothing_asked_nothing_encoded(encoder: PooledEncoder) -> None:
    assert encode_texts(encoder, [], "search").shape == (0, encoder.dim)


def test_vectors_go_where_they_are_wanted_and_progress_is_told(
    encoder: PooledEncoder, tmp_path: Path
) -> None:
    out = np.lib.format.open_memmap(
        tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=(len(TEXTS), encoder.dim)
    )
    done: list[int] = []
    returned = encode_texts(encoder, TEXTS, "search", out=out, batch_tokens=64, progress=done.append)
    assert returned is out
    assert sum(done) == len(TEXTS)
    assert len(done) > 1
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), encode_texts(encoder, TEXTS, "search"), atol=1e-5)


def test_a_text_that_became_nan_is_named(minilm1: Path) -> None:
    broken = PooledEncoder(str(minilm1), lengths={"document": 64, "search": 32, "label": 8})
    token = broken.tokenize(["beef"], "search")[0][1]
    with torch.no_grad():
        broken.model.embeddings.word_embeddings.weight[token] = float("nan")
    broken.train()
    with pytest.raises(
        LmteachError, match=r"text 4: The encoder returned NaN or infinity for 1 of .* texts"
    ) as caught:
        encode_texts(broken, TEXTS, "search", batch_tokens=100_000)
    assert "lower training.lr" in str(caught.value)
    assert broken.training, "restored although it failed"


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    batches = list(token_batches(lengths, batch_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True), "the longest come first"
    for batch, length in zip(batches, longest, strict=True):
        assert len(batch) == 1 or len(batch) * length <= batch_tokens
