"""The scorer: which way it reads, batches that do not matter, memory that runs out."""

import gc
import logging
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.errors import TeacherError
from lmteach.teaching.causal import attention
from lmteach.teaching.causal.generic import GenericBackbone
from lmteach.teaching.causal.llama import LlamaBackbone
from lmteach.teaching.causal.plain import PlainBackbone
from lmteach.teaching.causal.request import Request
from lmteach.teaching.causal.scorer import Scorer, is_out_of_memory

ROWS = (3, 50, 399)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


def logits_of(model, ids):
    """The yardstick: transformers' own logits behind one prompt."""
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0]


tokens = st.lists(st.integers(0, 399), min_size=1, max_size=12).map(tuple)
requests = st.builds(
    lambda prefix, suffixes, n: Request((9, 8, 7, *prefix), tuple(suffixes), "last", n),
    tokens,
    st.lists(tokens, min_size=1, max_size=5),
    st.sampled_from([0, 3]),
)


@pytest.mark.parametrize("family", ["llama", "granite", "phi3"])
def test_answer_logits_are_the_model_s(make_model, family):
    model = make_model(family)
    scorer = Scorer(model, batch_tokens=40)

    @settings(deadline=None, max_examples=20)
    @given(st.lists(requests, min_size=1, max_size=4))
    def check(found):
        for request, logits in zip(found, scorer.rows(found, ROWS), strict=True):
            expected = [logits_of(model, request.prefix + s)[-1, list(ROWS)] for s in request.suffixes]
            torch.testing.assert_close(logits, torch.stack(expected), atol=1e-4, rtol=1e-4)

    check()


@pytest.mark.parametrize("family", ["llama", "granite"])
def test_label_log_probabilities_are_the_model_s(make_model, family):
    model = make_model(family)
    scorer = Scorer(model, batch_tokens=40)

    @settings(deadline=None, max_examples=20)
    @given(st.lists(requests, min_size=1, max_size=4))
    def check(found):
        for request, values in zip(found, scorer.log_probs(found), strict=True):
            for label, value in zip(request.suffixes, values, strict=True):
                log_probs = logits_of(model, request.prefix + label).log_softmax(-1)
                at = torch.arange(len(request.prefix) - 1, len(request.prefix) + len(label) - 1)
                assert value == pytest.approx(log_probs[at, list(label)].sum().item(), abs=2e-4)

    check()


def test_nothing_asked(model):
    assert Scorer(model).rows([], ROWS) == []
    assert Scorer(model).log_probs([]) == []


@pytest.mark.parametrize(
    ("family", "kind"),
    [("llama", LlamaBackbone), ("qwen3", LlamaBackbone), ("gemma", GenericBackbone)],
)
def test_the_fastest_way_that_is_right_is_taken(make_model, family, kind):
    assert isinstance(Scorer(make_model(family)).backbone, kind)


@pytest.mark.parametrize(("family", "reason"), [("gemma2", "softcap"), ("mamba", "off by")])
def test_other_models_fall_back_and_say_so(make_model, family, reason, caplog):
    model = make_model(family)
    with caplog.at_level(logging.WARNING):
        scorer = Scorer(model, 64)
    assert isinstance(scorer.backbone, PlainBackbone)
    assert "one prompt a candidate" in caplog.text
    assert reason in caplog.text
    request = Request((1, 2, 3), ((4, 5), (6,)))
    (logits,) = scorer.rows([request], ROWS)
    expected = [logits_of(model, request.prefix + s)[-1, list(ROWS)] for s in request.suffixes]
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-3, rtol=1e-3)
    with pytest.raises(TeacherError, match="cannot share prefixes"):
        Scorer(model, 64, "shared")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", ["mask", "scale", "preamble"])
def test_a_wrong_reading_is_found_at_load(make_model, monkeypatch, caplog, fault, dtype):
    genuine = attention.attend_blocks

    def broken(q, k, v, blocks, scale, preamble):
        if fault == "mask":
            for block in blocks:
                block.mask.zero_()
        return genuine(
            q,
            k,
            v,
            blocks,
            scale * (1.5 if fault == "scale" else 1),
            None if fault == "preamble" else preamble,
        )

    monkeypatch.setattr(attention, "attend_blocks", broken)
    with caplog.at_level(logging.WARNING):
        scorer = Scorer(make_model("llama", dtype=dtype))
    assert isinstance(scorer.backbone, PlainBackbone)
    assert "off by" in caplog.text


class Exhausted:
    """A backbone with room for so many tokens at once."""

    name = "exhausted"

    def __init__(self, backbone, room, error):
        self.backbone, self.room, self.error, self.sizes = backbone, room, error, []

    def hidden(self, found):
        self.sizes.append(sum(request.n_tokens for request in found))
        if self.sizes[-1] > self.room:
            raise self.error
        return self.backbone.hidden(found)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "python"])
@pytest.mark.parametrize("read", ["rows", "log_probs"])
def test_out_of_memory_halves_the_batch_and_goes_on(model, error, read, caplog):
    found = [Request(tuple(range(i + 3)), ((1, 2), (3,), (4, 5, 6)), n_preamble=i % 2) for i in range(20)]
    calm, pressed = Scorer(model), Scorer(model, 400)
    pressed.backbone = Exhausted(pressed.backbone, 60, error)
    ask = (lambda s: s.rows(found, ROWS)) if read == "rows" else (lambda s: s.log_probs(found))
    with caplog.at_level(logging.WARNING):
        expected, got = ask(calm), ask(pressed)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=1e-4, rtol=1e-4)
    assert pressed.batch_tokens <= 60
    assert "out of memory" in caplog.text
    sizes = pressed.backbone.sizes
    ask(pressed)
    assert max(pressed.backbone.sizes[len(sizes) :], default=0) <= 60


def test_one_document_larger_than_memory_is_read_in_parts(model):
    found = [Request(tuple(range(20)), tuple((i, i + 1, i + 2) for i in range(60)), "last", 4)]
    pressed = Scorer(model, 400)
    pressed.backbone = Exhausted(pressed.backbone, 50, ERRORS[1])
    torch.testing.assert_close(
        pressed.rows(found, ROWS)[0], Scorer(model).rows(found, ROWS)[0], atol=1e-4, rtol=1e-4
    )
    labels = pressed.log_probs(found)[0]
    assert labels == pytest.approx(Scorer(model).log_probs(found)[0], abs=1e-4)


def test_memory_too_small_for_anything_is_an_error_that_ends(model):
    pressed = Scorer(model, 400)
    pressed.backbone = Exhausted(pressed.backbone, 0, ERRORS[0])
    with pytest.raises(TeacherError, match="Out of memory with"):
        pressed.rows([Request(tuple(range(20)), ((1, 2),))], ROWS)


def test_a_prompt_longer_than_the_model_reads_is_an_error(make_model):
    with pytest.raises(TeacherError, match="520 tokens; the model reads at most 512"):
        Scorer(make_model("llama")).rows([Request((1,) * 515, ((1, 2), (3,) * 5))], ROWS)


def test_a_prompt_longer_than_a_window_names_the_way_out(make_model):
    model = make_model("mistral")
    model.config.sliding_window = 32
    with pytest.raises(TeacherError, match="sliding window") as caught:
        Scorer(model).rows([Request((1,) * 40, ((1, 2),))], ROWS)
    assert "reading: plain" in str(caught.value)


def test_the_model_s_own_weights_go_once_packed_ones_are_there(make_model):
    model = make_model("llama")
    weight = weakref.ref(model.model.layers[0].mlp.down_proj.weight)
    scorer = Scorer(model)
    del model
    gc.collect()
    assert weight() is None
    assert scorer.rows([Request((1,), ((1, 2),))], ROWS)


def test_another_error_is_not_taken_for_memory(model):
    broken = Scorer(model)
    broken.backbone = Exhausted(broken.backbone, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        broken.rows([Request((1,), ((1, 2),))], ROWS)
    assert not is_out_of_memory(ValueError("out of memory"))
