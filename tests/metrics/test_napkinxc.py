"""Ranking metrics against napkinXC's, on random rankings of random gold. Needs `pip install napkinxc`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.corpus import Gold
from lmteach.metrics.ranking import label_counts, propensities, score_ranking

napkin = pytest.importorskip("napkinxc.metrics")

DEPTH = 7


@given(st.integers(0, 10_000), st.sampled_from([(0.55, 1.5), (0.6, 2.6), (0.5, 0.4)]))
@settings(max_examples=40, deadline=None)
def test_every_ranking_metric_equals_napkinxcs(seed, constants):
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    n, n_labels = 60, 40
    sizes = rng.integers(1, 9, n)
    rows = [np.sort(rng.choice(n_labels, size, replace=False)) for size in sizes]
    indptr, ids = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(rows)
    gold = Gold(indptr, ids)
    relevance = rng.random((n, n_labels)) + np.array(
        [0.5 * np.isin(np.arange(n_labels), row) for row in rows]
    )
    predicted = np.argsort(-relevance, axis=1)[:, :DEPTH]
    matrix = csr_matrix((np.ones(len(ids)), ids, indptr), shape=(n, n_labels))
    theirs = napkin.Jain_et_al_inverse_propensity(matrix, A=constants[0], B=constants[1])
    weights = propensities(label_counts(gold, n_labels), n, *constants)
    assert theirs == pytest.approx(1 / weights)
    ks = range(1, DEPTH + 1)
    ours = score_ranking(predicted, gold, ks, n_labels=n_labels, propensities_l=weights).means()
    plain, lists = [row.tolist() for row in rows], predicted.tolist()
    found = {
        "p": napkin.precision_at_k(plain, lists, k=DEPTH),
        "r": napkin.recall_at_k(plain, lists, k=DEPTH),
        "ndcg": napkin.ndcg_at_k(plain, lists, k=DEPTH),
        "coverage": napkin.coverage_at_k(plain, lists, k=DEPTH),
        "psp": napkin.psprecision_at_k(plain, lists, theirs, k=DEPTH, normalize=True),
        "psndcg": napkin.psndcg_at_k(plain, lists, theirs, k=DEPTH, normalize=True),
    }
    for name, values in found.items():
        assert [ours[f"{name}@{k}"] for k in ks] == pytest.approx(list(values), abs=1e-9), name
