"""Linear heads on all layers at once: each learns what its own layer knows, and keeps its own best epoch."""

from __future__ import annotations

import numpy as np

from lmteach import registry
from lmteach.students.feature_store import MemoryColumn
from lmteach.students.features import Located
from lmteach.students.layer_probe import ProbeOptions, fit_probe, right

N_TRAIN, N_APART = 200, 100


def located(*columns: np.ndarray) -> Located:
    made = []
    for vectors in columns:
        column = MemoryColumn(len(vectors), vectors.shape[1], "fp32")
        column.vectors_nD[:] = vectors
        made.append(column)
    rows = np.arange(len(columns[0]), dtype=np.int64)
    return Located(made, [rows] * len(made))


def test_the_layer_that_knows_is_found() -> None:
    rng = np.random.default_rng(0)
    n, classes = N_TRAIN + N_APART, rng.integers(0, 3, N_TRAIN + N_APART)
    targets = np.eye(3, dtype=np.float32)[classes]
    noise = rng.normal(size=(n, 6)).astype(np.float32)
    knows = noise.copy()
    knows[:, :3] += 4 * targets
    knows[:, 5] = 1e4 + 1e3 * rng.normal(size=n)  # as of a language model: a dimension that drowns the others
    options = ProbeOptions(epochs=40, lr=0.03)
    features = located(noise, knows, rng.permutation(knows))
    probed = fit_probe(features, targets, N_TRAIN, registry.build("loss", {"name": "ce"}, False), options)
    accuracy = right(probed.logits(N_TRAIN, N_APART), targets[N_TRAIN:], False).mean(axis=0)
    assert accuracy[1] > 0.95
    assert max(accuracy[0], accuracy[2]) < 0.5


def test_each_layer_keeps_its_own_best_epoch() -> None:
    """On noise every epoch behind the first ones makes things worse; the kept head must not be the last one's."""
    rng = np.random.default_rng(1)
    targets = np.eye(2, dtype=np.float32)[rng.integers(0, 2, N_TRAIN + N_APART)]
    features = located(rng.normal(size=(N_TRAIN + N_APART, 50)).astype(np.float32))
    loss = registry.build("loss", {"name": "ce"}, False)

    def validation_loss(patience: int, epochs: int) -> float:
        options = ProbeOptions(epochs=epochs, patience=patience, lr=0.05, weight_decay=0.0)
        probed = fit_probe(features, targets, N_TRAIN, loss, options)
        logits = probed.logits(N_TRAIN, N_APART)[:, 0]
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-(log_p * targets[N_TRAIN:]).sum(axis=1).mean())

    assert validation_loss(60, 60) == validation_loss(3, 60), "the best epoch is among the first"
    assert validation_loss(60, 60) <= validation_loss(1, 1) + 1e-6


def test_several_classes_are_right_only_together() -> None:
    logits = np.array([[[1.0, -1.0, 2.0]], [[1.0, 1.0, -1.0]]])
    targets = np.array([[1, 0, 1], [1, 0, 0]], np.float32)
    assert right(logits, targets, True).tolist() == [[True], [False]]
