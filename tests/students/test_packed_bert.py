"""Our own forward of BERT-shaped encoders: transformers' numbers for every family, whatever stands in a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.recipe.schema import LoraSection
from lmteach.students.class_student import ClassCard, logits_of
from lmteach.students.encode import encode_texts
from lmteach.students.packed_bert import FAMILIES, PackedBert, head_on_first
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.tuned import TunedStudent
from lmteach.teaching.causal.generic import UnsupportedError
from lmteach.tracking.console import Console

N_PIECES, PADDING = 60, 1
SIZES: dict[str, Any] = {
    "vocab_size": N_PIECES,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": PADDING,
}
DISTILBERT_SIZES: dict[str, Any] = {
    "vocab_size": N_PIECES,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 40,
    "pad_token_id": PADDING,
}
CONFIGS = {
    "bert": transformers.BertConfig,
    "roberta": transformers.RobertaConfig,
    "xlm-roberta": transformers.XLMRobertaConfig,
    "camembert": transformers.CamembertConfig,
    "distilbert": transformers.DistilBertConfig,
}


def config_of(family: str, **keys: Any) -> Any:
    sizes = DISTILBERT_SIZES if family == "distilbert" else SIZES
    return CONFIGS[family](**{**sizes, **keys})


@cache
def model_of(family: str) -> Any:
    """Random weights large enough that every token, position and bias matters."""
    torch.manual_seed(3)
    model = transformers.AutoModel.from_config(config_of(family)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def by_hand(model: Any, ids: Sequence[int]) -> Sequence[torch.Tensor]:
    """Return all hidden states [T, C] of one text, read alone by transformers."""
    with torch.no_grad():
        states = model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True).hidden_states
    return [state[0] for state in states]


def test_every_family_is_tried_here() -> None:
    assert set(CONFIGS) == set(FAMILIES)


texts_of_ids = st.lists(
    st.lists(st.integers(PADDING + 1, N_PIECES - 1), min_size=1, max_size=30), min_size=1, max_size=6
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(texts=texts_of_ids)
def test_hidden_states_are_those_of_transformers(family: str, texts: list[list[int]]) -> None:
    model = model_of(family)
    reader = PackedBert(model, torch.float32)
    found, firsts_BC = reader.layers(texts, [0, 2, 3]), reader.first(texts)
    start = 0
    for text, first_C in zip(texts, firsts_BC, strict=True):
        expected = by_hand(model, text)
        for layer in (0, 2, 3):
            own_TC = found[layer][start : start + len(text)]
            torch.testing.assert_close(own_TC, expected[layer], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(first_C, expected[-1][0], rtol=1e-4, atol=1e-4)
        start += len(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_is_as_near_as_bf16_can_be(family: str) -> None:
    model = model_of(family)
    reader = PackedBert(model, torch.bfloat16)
    texts = [[7] * 30, [5, 9, 12, 40] * 7, [3, 4]]
    own_NC = reader.layers(texts, [3])[3]
    expected_NC = torch.cat([by_hand(model, text)[-1] for text in texts])
    assert torch.cosine_similarity(own_NC, expected_NC).min() > 0.999
    assert own_NC.dtype == reader.first(texts).dtype == torch.float32


def test_layers_behind_the_last_wanted_one_are_not_computed() -> None:
    reader = PackedBert(model_of("bert"), torch.float32)
    reader._layers[2] = None  # type: ignore[call-overload]
    assert sorted(reader.layers([[5, 6]], [0, 2])) == [0, 2]


def test_many_long_texts_attend_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PackedBert(model_of("bert"), torch.bfloat16)
    texts = [[i + 3] * 20 + [9] * 10 for i in range(7)]
    whole = reader.layers(texts, [3])[3]
    monkeypatch.setattr("lmteach.students.packed_bert._SCORES", 2 * 4 * 30 * 30)  # two texts at a time
    assert torch.equal(reader.layers(texts, [3])[3], whole)


def with_adapters(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(copy.deepcopy(model), LoraConfig(target_modules=["query"])).base_model.model


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: transformers.AutoModel.from_config(config_of("bert", hidden_act="relu")), "feed-forward"),
        (lambda: transformers.AutoModel.from_config(config_of("bert", is_decoder=True)), "decoder"),
        (lambda: with_adapters(model_of("bert")), r"attention\.self\.query is a Linear"),
        (
            lambda: transformers.AutoModel.from_config(
                transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9)
            ),
            "family gpt2",
        ),
    ],
)
def test_what_it_would_read_wrongly_is_refused(model: Any, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        PackedBert(model(), torch.float32)


class Plain(torch.nn.Module):
    """An encoder without its faster way."""

    def __init__(self, encoder: PooledEncoder) -> None:
        super().__init__()
        self.inner, self.dim = encoder, encoder.dim
        self.tokenize, self.collate = encoder.tokenize, encoder.collate

    def forward(self, batch: Any) -> torch.Tensor:
        out: torch.Tensor = self.inner(batch)
        return out


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_encoder_encodes_as_its_own_forward_does(
    minilm1: Path, sentences: list[str], pooling: Any, precision: Any
) -> None:
    encoder = PooledEncoder(str(minilm1), pooling=pooling, lengths={"search": 20, "label": 8, "document": 20})
    texts = [*sentences, "", "one"]
    fast_nD = encode_texts(encoder, texts, "search", precision=precision)
    plain_nD = encode_texts(Plain(encoder), texts, "search", precision=precision)  # type: ignore[arg-type]
    atol = 1e-5 if precision == "fp32" else 1e-2
    np.testing.assert_allclose(fast_nD, plain_nD, atol=atol)


def test_an_encoder_that_learned_is_read_anew(minilm1: Path, sentences: list[str]) -> None:
    encoder = PooledEncoder(str(minilm1), lengths={"search": 20, "label": 8, "document": 20})
    before_nD = encode_texts(encoder, sentences, "search")
    with torch.no_grad():
        encoder.model.encoder.layer[0].output.dense.weight.mul_(-1)
    after_nD = encode_texts(encoder, sentences, "search")
    assert np.abs(before_nD - after_nD).max() > 1e-2
    np.testing.assert_allclose(
        after_nD,
        encode_texts(Plain(encoder), sentences, "search"),  # type: ignore[arg-type]
        atol=1e-5,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_says_what_its_own_forward_says(family: str) -> None:
    torch.manual_seed(5)
    model = transformers.AutoModelForSequenceClassification.from_config(
        config_of(family, num_labels=4, initializer_range=0.5)
    ).eval()
    reader = PackedBert(model.base_model, torch.float32)
    texts = [[7] * 30, [5, 9, 12, 40], [3, 4, 8, 11], [3]]
    own_BC = head_on_first(model)(reader.first(texts))
    with torch.no_grad():
        expected_BC = torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in texts])
    torch.testing.assert_close(own_BC, expected_BC, rtol=1e-4, atol=1e-4)
    assert own_BC.std(0).min() > 1e-2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_tuned_student_at_work_takes_the_faster_way(
    minilm1: Path, sentences: list[str], precision: Any
) -> None:
    torch.manual_seed(0)
    card = ClassCard(labels=("a", "b", "c"), multilabel=False, tuning="full", max_tokens=20)
    student = TunedStudent(minilm1, card)
    student.body.eval()
    inputs = student.read(sentences, Console(quiet=True))
    plain_nC = np.concatenate(
        [student.body(inputs.collate([i])).detach().float().numpy() for i in range(len(sentences))]
    )
    fast_nC = logits_of(student, inputs, device="cpu", precision=precision)
    assert student.packed(precision) is not None
    np.testing.assert_allclose(fast_nC, plain_nC, atol=1e-4 if precision == "fp32" else 2e-2)


def test_adapters_in_training_are_read_by_their_own_forward(minilm1: Path, sentences: list[str]) -> None:
    card = ClassCard(labels=("a", "b"), multilabel=False, tuning="lora", max_tokens=20)
    student = TunedStudent(minilm1, card, lora=LoraSection(targets=["query"]))
    assert student.packed("fp32") is None
    with torch.no_grad():
        for name, parameter in student.body.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    inputs = student.read(sentences, Console(quiet=True))
    student.body.eval()
    expected_C = student.body(inputs.collate([0])).detach().numpy()[0]
    found_nC = logits_of(student, inputs, device="cpu", precision="fp32")
    np.testing.assert_allclose(found_nC[0], expected_C, atol=1e-4)
