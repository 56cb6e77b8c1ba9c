"""Attention by spans, with the GPU's kernel replaced by plain arithmetic, equals attention by blocks."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.teaching.causal import attention
from lmteach.teaching.causal.layout import lay_out
from lmteach.teaching.causal.request import Request

SCALE = 0.3
CPU = torch.device("cpu")


def plain_flash(q, k, v, queries, keys, scale, *, causal):
    """What the kernel computes: for each pair of spans softmax(q k^T) v and the log-sum-exp."""
    out, lse = torch.zeros_like(q), torch.full((q.shape[1], q.shape[0]), float("-inf"))
    group = q.shape[1] // k.shape[1]
    edges_q, edges_k = queries[0].tolist(), keys[0].tolist()
    assert len(edges_q) == len(edges_k)
    assert max(b - a for a, b in pairwise(edges_q)) == queries[1]
    for i in range(len(edges_q) - 1):
        a, b, c, d = *edges_q[i : i + 2], *edges_k[i : i + 2]
        if a == b:
            continue
        s = torch.einsum("qhd,khd->hqk", q[a:b], k[c:d].repeat_interleave(group, 1)) * scale
        if causal:
            s = s.masked_fill(torch.ones(b - a, d - c).triu(1).bool(), float("-inf"))
        out[a:b] = torch.einsum("hqk,khd->qhd", s.softmax(-1), v[c:d].repeat_interleave(group, 1))
        lse[:, a:b] = s.logsumexp(-1)
    return out, lse


def one_by_one(q, k, v, layout_of, requests, preamble):
    """Each suffix with its prefix and the preamble as an ordinary causal sequence."""
    before_k, before_v = preamble if preamble else (k[:0], v[:0])
    out = torch.zeros_like(q)
    group = q.shape[1] // k.shape[1]
    at_prefix, at_suffix = 0, layout_of.n_prefix
    for request in requests:
        prefix = range(at_prefix, at_prefix + len(request.body))
        at_prefix = prefix.stop
        for suffix in request.suffixes:
            rows = [*prefix, *range(at_suffix, at_suffix + len(suffix))]
            at_suffix += len(suffix)
            keys, values = torch.cat((before_k, k[rows])), torch.cat((before_v, v[rows]))
            s = torch.einsum("qhd,khd->hqk", q[rows], keys.repeat_interleave(group, 1)) * SCALE
            future = torch.ones(len(rows), len(keys)).triu(1 + len(before_k)).bool()
            p = s.masked_fill(future, float("-inf")).softmax(-1)
            out[rows] = torch.einsum("hqk,khd->qhd", p, values.repeat_interleave(group, 1))
    return out


requests = st.lists(
    st.builds(
        lambda n, lengths, n_preamble, read: Request(
            tuple(range(n_preamble + n)), tuple(tuple(range(m)) for m in lengths), read, n_preamble
        ),
        st.integers(1, 9),
        st.lists(st.integers(0, 5), min_size=1, max_size=4),
        st.just(3),
        st.sampled_from(["last", "each"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(requests, st.booleans(), st.integers(0, 1000))
def test_blocks_and_spans_are_ordinary_attention(found, with_preamble, seed):
    torch.manual_seed(seed)
    layout = lay_out(found, device=CPU, dtype=torch.float32)
    q, k, v = (torch.randn(layout.n_tokens, heads, 4) for heads in (6, 2, 2))
    preamble = (torch.randn(3, 2, 4), torch.randn(3, 2, 4)) if with_preamble else None
    expected = one_by_one(q, k, v, layout, found, preamble)
    by_blocks = attention.attend(q, k, v, layout, SCALE, preamble)
    spans = lay_out(found, device=CPU, dtype=torch.float32, by_spans=True)
    torch.testing.assert_close(by_blocks, expected, atol=1e-5, rtol=1e-5)
    wanted = attention.attend_wanted(q, k, v, layout, SCALE, preamble)
    torch.testing.assert_close(wanted, expected[layout.wanted], atol=1e-5, rtol=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_flash", plain_flash)
        by_spans = attention.attend(q, k, v, spans, SCALE, preamble)
        wanted_by_spans = attention.attend_wanted(q, k, v, spans, SCALE, preamble)
    torch.testing.assert_close(by_spans, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wanted_by_spans, expected[layout.wanted], atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_kernel_agrees_with_blocks():
    requests = [Request(tuple(range(30 + i)), ((1, 2), (), (3,) * 20), n_preamble=10) for i in range(3)]
    layout, spans = (
        lay_out(requests, device=torch.device("cuda"), dtype=torch.bfloat16, by_spans=by)
        for by in (False, True)
    )
    q, k, v = (
        torch.randn(layout.n_tokens, heads, 64, device="cuda", dtype=torch.bfloat16) for heads in (9, 3, 3)
    )
    preamble = (torch.randn(10, 3, 64).to(q), torch.randn(10, 3, 64).to(q))
    by_spans = attention.attend(q, k, v, spans, 0.125, preamble)
    by_blocks = attention.attend_blocks(q, k, v, layout.blocks, 0.125, preamble)
    torch.testing.assert_close(by_spans, by_blocks, atol=2e-2, rtol=2e-2)
