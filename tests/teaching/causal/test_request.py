"""Requests, batches and splitting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.teaching.causal.request import Request, batches, split

tokens = st.lists(st.integers(0, 99), max_size=12).map(tuple)
requests = st.builds(
    Request,
    prefix=st.lists(st.integers(0, 99), min_size=6, max_size=20).map(tuple),
    suffixes=st.lists(tokens, min_size=1, max_size=6).map(tuple),
    read=st.sampled_from(["last", "each"]),
    n_preamble=st.integers(0, 5),
)


def test_the_preamble_is_not_counted():
    request = Request((1, 2, 3, 4), ((5,), (6, 7)), "each", 3)
    assert (request.preamble, request.body) == ((1, 2, 3), (4,))
    assert request.n_tokens == 4
    assert request.n_wanted == 4
    assert Request((1,), ((5,), (), (6, 7))).n_wanted == 3


@pytest.mark.parametrize(("prefix", "n_preamble"), [((), 0), ((1, 2), 2), ((1, 2), -1)])
def test_a_prefix_has_a_token_of_its_own(prefix, n_preamble):
    with pytest.raises(ValueError, match="at least one token"):
        Request(prefix, ((3,),), n_preamble=n_preamble)


@given(st.lists(requests), st.integers(1, 60))
def test_batches_hold_every_request_once_within_the_budget(found, budget):
    made = list(batches(found, budget))
    assert sorted(i for batch in made for i in batch) == list(range(len(found)))
    for batch in made:
        assert len(batch) == 1 or sum(found[i].n_tokens for i in batch) <= budget
        assert len({found[i].preamble for i in batch}) == 1


@given(st.lists(requests, min_size=1), st.integers(1, 60))
def test_of_one_preamble_the_longest_comes_first(found, budget):
    by_preamble: dict[tuple[int, ...], list[int]] = {}
    for batch in batches(found, budget):
        for i in batch:
            by_preamble.setdefault(found[i].preamble, []).append(found[i].n_tokens)
    assert all(sizes == sorted(sizes, reverse=True) for sizes in by_preamble.values())


@given(requests, st.integers(1, 60))
def test_parts_of_a_request_hold_its_suffixes_in_order(request, budget):
    parts = split(request, budget)
    assert tuple(suffix for part in parts for suffix in part.suffixes) == request.suffixes
    for part in parts:
        assert (part.prefix, part.read, part.n_preamble) == (request.prefix, request.read, request.n_preamble)
        assert (
            part.n_tokens <= budget or len([s for s in part.suffixes if s]) <= 1 or len(part.body) >= budget
        )
