"""Pooling, padding, lengths; and the folder that sentence-transformers loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lmteach.students.encode import encode_texts
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.protocol import Encoder

LENGTHS = {"document": 64, "search": 48, "label": 8}
TEXTS = [
    "A note on bread and butter.",
    "moon",
    "The committee of the regions was consulted on the proposal for a directive. " * 6,
    "naïve café ☃",
    "",
]


def make(folder: Path, pooling: str = "mean", **options) -> PooledEncoder:
    return PooledEncoder(str(folder), pooling=pooling, lengths=LENGTHS, **options).eval()


@pytest.fixture(scope="module")
def encoders(minilm1: Path) -> dict[str, PooledEncoder]:
    return {pooling: make(minilm1, pooling) for pooling in ("mean", "cls", "last")}


def test_it_is_an_encoder(encoders) -> None:
    assert isinstance(encoders["mean"], Encoder)
    assert encoders["mean"].dim == 384


def hidden(encoder: PooledEncoder, text: str) -> torch.Tensor:
    """The token vectors of one text, without any padding."""
    ids = torch.tensor(encoder.tokenize([text], "search"))
    with torch.inference_mode():
        return encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_does_not_change_a_vector(encoders, side: str) -> None:
    """Position ids are absolute, so padding on the left moves a text: BERT is padded on the right."""
    expected = {
        "mean": lambda h: h.mean(0),
        "last": lambda h: h[-1],
        "cls": lambda h: h[0],
    }
    for pooling, encoder in encoders.items():
        token_ids = encoder.tokenize([TEXTS[1], TEXTS[2]], "search")
        batch = encoder.collate(token_ids)
        mask = batch["attention_mask"]
        assert mask[0].sum() < mask.shape[1], "the first text is padded"
        with torch.inference_mode():
            vectors = encoder.model(**batch).last_hidden_state
        if side == "left":
            turn = [mask.shape[1] - len(token_ids[0]), 0]
            vectors = torch.stack([vectors[i].roll(turn[i], 0) for i in range(2)])
            mask = torch.stack([mask[i].roll(turn[i], 0) for i in range(2)])
            if pooling == "cls":
                continue
        pooled = encoder._pool(vectors, mask)
        for row, text in enumerate((TEXTS[1], TEXTS[2])):
            torch.testing.assert_close(
                pooled[row], expected[pooling](hidden(encoder, text)), atol=2e-5, rtol=1e-4
            )


def test_poolings_differ(encoders) -> None:
    vectors = [encode_texts(encoder, TEXTS[:1], "search")[0] for encoder in encoders.values()]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert float(vectors[a] @ vectors[b]) < 0.999


def test_an_empty_text_has_a_vector(encoders) -> None:
    for encoder in encoders.values():
        assert np.isfinite(encode_texts(encoder, [""], "label")).all()


def test_no_texts_no_tokens(encoders) -> None:
    assert encoders["mean"].tokenize([], "search") == []


def test_lengths_stop_at_the_models_own(minilm1: Path) -> None:
    wide = PooledEncoder(str(minilm1), lengths={"document": 10_000, "search": 10_000, "label": 8})
    assert len(wide.tokenize(["word " * 3000], "document")[0]) == 512
    encode_texts(wide, ["word " * 3000], "document")


def test_dropout_can_be_set(minilm1: Path) -> None:
    rates = {
        module.p for module in make(minilm1, dropout=0.0).modules() if isinstance(module, torch.nn.Dropout)
    }
    assert rates == {0.0}
    rates = {
        module.p for module in make(minilm1, dropout=0.4).modules() if isinstance(module, torch.nn.Dropout)
    }
    assert rates == {0.4}
    own = {module.p for module in make(minilm1).modules() if isinstance(module, torch.nn.Dropout)}
    assert own == {0.1}


def test_every_trainable_weight_gets_a_gradient(minilm1: Path) -> None:
    """One without would stop distributed training."""
    encoder = make(minilm1).train()
    encoder(encoder.collate(encoder.tokenize(TEXTS, "document")))[:, 0].sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_saved_encoder_comes_back_the_same(encoders, pooling: str, tmp_path: Path) -> None:
    encoder = encoders[pooling]
    encoder.save(tmp_path / "student")
    again = make(tmp_path / "student", pooling)
    np.testing.assert_allclose(
        encode_texts(encoder, TEXTS, "search"), encode_texts(again, TEXTS, "search"), atol=1e-6
    )


def assert_sentence_transformers_agrees(encoder: PooledEncoder, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder.save(folder)
    ours = encode_texts(encoder, TEXTS, "search")
    model = SentenceTransformer(str(folder), device="cpu")
    theirs = model.encode(TEXTS, convert_to_numpy=True)
    assert model.max_seq_length == LENGTHS["search"]
    assert theirs.shape == (len(TEXTS), encoder.dim)
    assert (ours * theirs).sum(1).min() > 0.9999
    assert np.abs(ours - theirs).max() < 1e-4
    assert float(model.similarity(theirs[:1], theirs[:1])) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_sentence_transformers_loads_it_and_encodes_the_same(encoders, pooling: str, tmp_path: Path) -> None:
    assert_sentence_transformers_agrees(encoders[pooling], tmp_path / "student")


def test_sentence_transformers_encodes_the_whole_minilm_the_same(minilm: Path, tmp_path: Path) -> None:
    assert_sentence_transformers_agrees(make(minilm), tmp_path / "student")


def test_a_language_model_serves_as_encoder(tmp_path: Path) -> None:
    """Its tokenizer has no padding token; the last token stands for the text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<unk>", "</s>", *"abcdefgh"])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>")
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    LlamaModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = make(tmp_path, "last")
    texts = ["a b c d e f", "g h", "a"]
    together = encode_texts(encoder, texts, "search")
    alone = np.concatenate([encode_texts(encoder, [text], "search") for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
