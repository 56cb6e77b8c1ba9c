"""A linear head on every layer of a backbone at once: all learn from one reading of the features.

Shape legend: n texts, B of a batch, L layers, D their width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lmteach.students.features import Located
from lmteach.students.protocol import ClassLoss

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ProbeOptions:
    """How the heads are trained, each until its own validation loss has not fallen for `patience` epochs."""

    epochs: int = 100
    patience: int = 10
    batch_size: int = 256
    lr: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0


class LayerProbe(nn.Module):
    """L linear heads over standardised features, [B, L, D] -> [B, L, C]."""

    shift_LD: Tensor
    scale_LD: Tensor

    def __init__(self, n_layers: int, dim: int, n_classes: int) -> None:
        super().__init__()
        self.weight_LDC = nn.Parameter(torch.zeros(n_layers, dim, n_classes))
        self.bias_LC = nn.Parameter(torch.zeros(n_layers, n_classes))
        self.register_buffer("shift_LD", torch.zeros(n_layers, dim))
        self.register_buffer("scale_LD", torch.ones(n_layers, dim))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return logits."""
        x_LBD = ((x_BLD - self.shift_LD) * self.scale_LD).transpose(0, 1)
        logits_LBC: Tensor = torch.baddbmm(self.bias_LC[:, None], x_LBD, self.weight_LDC)
        return logits_LBC.transpose(0, 1)


@dataclass
class Probed:
    """Trained heads, each with the weights of its own best epoch."""

    probe: LayerProbe
    features: Located
    batch_size: int

    @torch.inference_mode()
    def logits(self, start: int, n: int) -> Floats:
        """Return [n, L, C] of the n texts from `start` on."""
        parts = [
            self.probe(self.features.read(np.arange(i, min(i + self.batch_size, start + n)))).numpy()
            for i in range(start, start + n, self.batch_size)
        ]
        return np.concatenate(parts)


def fit_probe(
    features: Located, targets_nC: Floats, n_train: int, loss: ClassLoss, options: ProbeOptions
) -> Probed:
    """Train a head on each layer; the texts behind the first `n_train` choose each head's epoch.

    Args:
        features: of at least as many texts as there are targets.
        targets_nC: of training and then validation texts.
    """
    n_layers, dim = features.shape
    rng = np.random.default_rng(options.seed)
    probe = LayerProbe(n_layers, dim, targets_nC.shape[1])
    _standardise(probe, features, n_train, options.batch_size)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    probed = Probed(probe, features, options.batch_size)
    best_L = np.full(n_layers, np.inf)
    worse_L = np.zeros(n_layers, np.int64)
    kept = [parameter.detach().clone() for parameter in probe.parameters()]
    for _ in range(options.epochs):
        order = rng.permutation(n_train)
        for start in range(0, n_train, options.batch_size):
            rows = np.sort(order[start : start + options.batch_size])
            logits_BLC = probe(features.read(rows))
            optimizer.zero_grad()
            _layer_losses(logits_BLC, torch.from_numpy(targets_nC[rows]), loss).sum().backward()
            optimizer.step()
        apart = torch.from_numpy(probed.logits(n_train, len(targets_nC) - n_train))
        loss_L = _layer_losses(apart, torch.from_numpy(targets_nC[n_train:]), loss).numpy()
        better_L = loss_L < best_L
        best_L = np.where(better_L, loss_L, best_L)
        worse_L = np.where(better_L, 0, worse_L + 1)
        with torch.no_grad():
            for copy, parameter in zip(kept, probe.parameters(), strict=True):
                copy[torch.from_numpy(better_L)] = parameter[torch.from_numpy(better_L)]
        if (worse_L >= options.patience).all():
            break
    with torch.no_grad():
        for copy, parameter in zip(kept, probe.parameters(), strict=True):
            parameter.copy_(copy)
    return probed


def right(logits_nLC: Floats, targets_nC: Floats, multilabel: bool) -> npt.NDArray[np.bool_]:
    """Return [n, L]: whether the likeliest class is right, or all classes above one half are."""
    if multilabel:
        exact: npt.NDArray[np.bool_] = ((logits_nLC > 0) == (targets_nC > 0.5)[:, None]).all(axis=2)
        return exact
    return np.asarray(logits_nLC.argmax(axis=2) == targets_nC.argmax(axis=1)[:, None])


def _layer_losses(logits_BLC: Tensor, targets_BC: Tensor, loss: ClassLoss) -> Tensor:
    """Return each layer's loss, [L]."""
    weights_B = torch.ones(len(targets_BC))
    return torch.stack([loss(logits_BC, targets_BC, weights_B) for logits_BC in logits_BLC.unbind(1)])


def _standardise(probe: LayerProbe, features: Located, n: int, batch_size: int) -> None:
    sums = torch.zeros(2, *features.shape, dtype=torch.float64)
    for start in range(0, n, batch_size):
        x_BLD = features.read(np.arange(start, min(start + batch_size, n))).double()
        sums += torch.stack([x_BLD.sum(0), (x_BLD**2).sum(0)])
    mean_LD = sums[0] / n
    probe.shift_LD.copy_(mean_LD)
    probe.scale_LD.copy_(1 / (sums[1] / n - mean_LD**2).clamp_min(0).sqrt().clamp_min(1e-6))
