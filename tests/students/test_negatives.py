"""Which in-batch labels are negatives of a document."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lmteach.students.negatives import hardest_negatives, positive_mask


def test_a_label_of_the_yes_set_is_positive_whoever_drew_it() -> None:
    yes = torch.tensor([[5, 7, -1], [7, -1, -1], [1, 2, 3]])
    drawn = torch.tensor([5, 7, 2])
    expected = [[True, True, False], [False, True, False], [False, False, True]]
    assert positive_mask(yes, drawn).tolist() == expected


def test_padding_is_nobodys_label() -> None:
    yes = torch.tensor([[0, -1], [1, -1]])
    assert positive_mask(yes, torch.tensor([0, 1])).tolist() == [[True, False], [False, True]]


def test_two_documents_that_drew_the_same_label_are_no_negatives_of_each_other() -> None:
    assert positive_mask(torch.tensor([[4], [4]]), torch.tensor([4, 4])).all()


def test_the_diagonal_is_positive_even_where_the_yes_set_forgets_it() -> None:
    assert positive_mask(torch.tensor([[9]]), torch.tensor([4])).item()


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_mask_is_membership(yes_sets, random) -> None:
    width = max(map(len, yes_sets))
    padded = torch.tensor([row + [-1] * (width - len(row)) for row in yes_sets])
    drawn = [random.choice(row) for row in yes_sets]
    mask = positive_mask(padded, torch.tensor(drawn))
    for i, row in enumerate(yes_sets):
        for j, label in enumerate(drawn):
            assert bool(mask[i, j]) == (label in row)


def test_the_hardest_negatives_are_the_highest_scores_that_are_none_of_the_positives() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.8, 0.3], [0.5, 0.6, 0.7, 0.8]])
    positive = torch.tensor([[True, False, False, False], [False, True, False, True]])
    values, valid = hardest_negatives(scores, positive, 2)
    assert torch.equal(values, torch.tensor([[0.8, 0.3], [0.7, 0.5]]))
    assert valid.all()


def test_places_without_a_negative_are_marked() -> None:
    scores = torch.tensor([[0.9, 0.1, -0.8]])
    values, valid = hardest_negatives(scores, torch.tensor([[True, True, False]]), 5)
    assert values.shape == (1, 3), "k is cut to the batch"
    assert valid.tolist() == [[True, False, False]]
    assert torch.equal(values, torch.tensor([[-0.8, 0.0, 0.0]]))


def test_a_score_of_minus_one_is_a_real_negative() -> None:
    """The least cosine must not be mistaken for a masked place."""
    values, valid = hardest_negatives(torch.tensor([[1.0, -1.0]]), torch.tensor([[True, False]]), 1)
    assert (values.item(), valid.item()) == (-1.0, True)
