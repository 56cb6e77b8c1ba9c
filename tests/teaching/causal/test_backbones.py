"""Every way to read a request gives the hidden states of one prompt a candidate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.teaching.causal import layout
from lmteach.teaching.causal.generic import GenericBackbone, UnsupportedError
from lmteach.teaching.causal.llama import LlamaBackbone
from lmteach.teaching.causal.plain import PlainBackbone
from lmteach.teaching.causal.request import Request

OWN_FORWARD = ("llama", "llama-tied", "mistral", "qwen2", "qwen3")
SHARED = (*OWN_FORWARD, "phi3", "gemma", "granite", "gpt-neox")
PREAMBLE = tuple(range(7, 20))

tokens = st.integers(0, 399)


@st.composite
def batches(draw):
    """Requests of one preamble: any lengths, empty suffixes, both ways to read."""
    n_preamble = draw(st.sampled_from([0, 0, 5, len(PREAMBLE)]))
    body = st.lists(tokens, min_size=1, max_size=40).map(tuple)
    suffixes = st.lists(st.lists(tokens, max_size=9).map(tuple), min_size=1, max_size=5).map(tuple)
    make = st.builds(
        lambda body, suffixes, read: Request(PREAMBLE[:n_preamble] + body, suffixes, read, n_preamble),
        body,
        suffixes,
        st.sampled_from(["last", "each"]),
    )
    return draw(st.lists(make, min_size=1, max_size=4))


def one_by_one(model, requests):
    """The yardstick: each prompt alone, no padding, no cleverness."""
    found = []
    for request in requests:
        for i, suffix in enumerate(request.suffixes):
            ids = torch.tensor([request.prefix + suffix])
            hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0]
            end = len(request.prefix) - 1
            if request.read == "last":
                found.append(hidden[-1:])
            else:
                found.append(hidden[end if i == 0 else end + 1 :])
    return torch.cat(found)


@pytest.fixture(params=SHARED)
def model(request, make_model):
    return make_model(request.param)


def backbones(model):
    kinds = [GenericBackbone(model), PlainBackbone(model, 64, "left"), PlainBackbone(model, 200, "right")]
    return [LlamaBackbone(model), *kinds] if model.config.model_type in OWN_FORWARD else kinds


@pytest.mark.parametrize("family", SHARED)
def test_every_backbone_reads_alike(make_model, family):
    model = make_model(family)
    ways = backbones(model)

    @settings(max_examples=25, deadline=None)
    @given(batches())
    def check(requests):
        with torch.inference_mode():
            expected = one_by_one(model, requests)
        for way in ways:
            found = way.hidden(requests).float()
            assert found.shape == expected.shape, way.name
            torch.testing.assert_close(
                found, expected, atol=1e-4, rtol=1e-4, msg=lambda m, n=way.name: f"{n}: {m}"
            )

    check()


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("n_tokens", [layout.PREFIX_ROWS - 1, layout.PREFIX_ROWS, 2 * layout.PREFIX_ROWS + 1])
def test_prefixes_longer_than_a_block(make_model, family, n_tokens):
    model = make_model(family)
    generator = torch.Generator().manual_seed(n_tokens)
    ids = tuple(torch.randint(0, 400, (n_tokens,), generator=generator).tolist())
    suffixes = tuple(ids[i : i + 20] for i in range(0, 180, 10))  # more tokens than one block of suffixes
    assert sum(map(len, suffixes)) > layout.SUFFIX_ROWS
    requests = [Request(ids, suffixes, "each"), Request(ids[5:], suffixes, "last")]
    with torch.inference_mode():
        expected = one_by_one(model, requests)
    for way in backbones(model):
        torch.testing.assert_close(way.hidden(requests).float(), expected, atol=2e-4, rtol=1e-4)


def test_another_preamble_is_another_reading(make_model):
    model = make_model("llama")
    for way in (LlamaBackbone(model), GenericBackbone(model)):
        read = [way.hidden([Request((p, 1, 2, 3), ((4,),), "last", 2)]) for p in (5, 6, 5)]
        torch.testing.assert_close(read[0], read[2])
        assert (read[0] - read[1]).abs().max() > 0.1


def test_nothing_leaks_between_documents_or_suffixes(make_model):
    """Change one suffix: every other answer stays to the bit where the shapes are the same."""
    for way in backbones(make_model("llama"))[:2]:
        first = way.hidden([Request((1, 2, 3), ((4, 5), (6, 7))), Request((8, 9), ((10,),))])
        second = way.hidden([Request((1, 2, 3), ((4, 5), (99, 98))), Request((8, 9), ((10,),))])
        assert torch.equal(first[[0, 2]], second[[0, 2]])
        assert not torch.equal(first[1], second[1])


def test_bf16_stays_near_fp32(make_model):
    fp32, bf16 = make_model("llama"), make_model("llama", dtype=torch.bfloat16)
    request = [Request(tuple(range(30)), tuple(tuple(range(i, i + 5)) for i in range(8)))]
    expected = LlamaBackbone(fp32).hidden(request)
    for way in (LlamaBackbone(bf16), GenericBackbone(bf16)):
        off = (way.hidden(request).float() - expected).norm() / expected.norm()
        assert off < 0.05, way.name


def test_capped_scores_are_refused(make_model):
    with pytest.raises(UnsupportedError, match="softcap"):
        GenericBackbone(make_model("gemma2")).hidden([Request((1, 2, 3), ((4, 5), (6, 7)))])


def test_a_prompt_longer_than_a_sliding_window_is_refused(make_model):
    model = make_model("mistral")
    model.config.sliding_window = 16
    for layer in model.model.layers:
        layer.self_attn.sliding_window = 16
    short, long = Request(tuple(range(8)), ((1,),)), Request(tuple(range(18)), ((1,),))
    for way in (LlamaBackbone(model), GenericBackbone(model)):
        way.hidden([short])
        with pytest.raises(UnsupportedError, match="sliding window"):
            way.hidden([long])


def test_our_forward_refuses_other_families(make_model):
    with pytest.raises(UnsupportedError, match="family gemma"):
        LlamaBackbone(make_model("gemma"))
