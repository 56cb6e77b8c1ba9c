"""A classifier on frozen features: several backbones' vectors, fused, then a small head (LLMEmbed).

Shape legend: B texts, k backbones, L layers of one, D its width, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lmteach import registry
from lmteach.errors import RecipeError, RunError, nearest_name
from lmteach.machine import device_name
from lmteach.recipe.schema import BackboneSection, FusionSection, Recipe
from lmteach.students.backbone import Backbone
from lmteach.students.class_student import ClassCard
from lmteach.students.features import FeatureInputs, read_features
from lmteach.students.fusions import Fusion, Shapes, build_fusion
from lmteach.students.protocol import Head
from lmteach.tracking.console import Console

HEAD = "head.safetensors"
STATISTICS_BATCH = 1024


class FusedBody(nn.Module):
    """Normalisation, fusion and head over each backbone's vectors.

    Args:
        normalise: `standard` by buffers that `set_statistics` fills, `l2` by each vector's length, or `none`.
        backbone_dropout: chance in training that a backbone is left out of a text; one always stays.
    """

    def __init__(
        self,
        fusion: Fusion,
        head: nn.Module,
        shapes: Shapes,
        *,
        normalise: str = "none",
        backbone_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fusion, self.head, self.shapes = fusion, head, dict(shapes)
        self.normalise, self.backbone_dropout = normalise, backbone_dropout
        for i, (n_layers, dim) in enumerate(self.shapes.values()):
            self.register_buffer(f"shift_{i}", torch.zeros(n_layers, dim))
            self.register_buffer(f"scale_{i}", torch.ones(n_layers, dim))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return logits [B, C] from [B, L, D] of each backbone that is there."""
        first = next(iter(inputs.values()))
        n, device = len(first), first.device
        vectors, here = {}, []
        for i, (name, (n_layers, dim)) in enumerate(self.shapes.items()):
            here.append(name in inputs)
            vectors[name] = (
                self._normalised(i, inputs[name].float())
                if name in inputs
                else torch.zeros(n, n_layers, dim, device=device)
            )
        present_Bk = torch.tensor(here, device=device).expand(n, -1)
        if self.training and self.backbone_dropout:
            present_Bk = drop_backbones(present_Bk, self.backbone_dropout)
        logits_BC: Tensor = self.head(self.fusion(vectors, present_Bk))
        return logits_BC

    def _normalised(self, i: int, x_BLD: Tensor) -> Tensor:
        if self.normalise == "standard":
            scaled_BLD: Tensor = (x_BLD - getattr(self, f"shift_{i}")) * getattr(self, f"scale_{i}")
            return scaled_BLD
        return nn.functional.normalize(x_BLD, dim=-1) if self.normalise == "l2" else x_BLD

    def set_statistics(self, inputs: FeatureInputs, n: int) -> None:
        """Learn each dimension's mean and deviation from the first n texts, a batch at a time."""
        sums = {name: torch.zeros(2, *shape, dtype=torch.float64) for name, shape in self.shapes.items()}
        for start in range(0, n, STATISTICS_BATCH):
            batch = inputs.collate(range(start, min(start + STATISTICS_BATCH, n)))
            for name, x_BLD in batch.items():
                wide = x_BLD.double()
                sums[name] += torch.stack([wide.sum(0), (wide**2).sum(0)])
        for i, name in enumerate(self.shapes):
            mean_LD, square_LD = sums[name] / n
            deviation_LD = (square_LD - mean_LD**2).clamp_min(0).sqrt()
            getattr(self, f"shift_{i}").copy_(mean_LD)
            getattr(self, f"scale_{i}").copy_(1 / deviation_LD.clamp_min(1e-6))


def drop_backbones(present_Bk: Tensor, rate: float) -> Tensor:
    """Return which backbones are left of each text; where all would go, one that was there stays."""
    noise_Bk = torch.rand(present_Bk.shape, device=present_Bk.device)
    kept_Bk = present_Bk & (noise_Bk >= rate)
    saved_B = torch.where(present_Bk, noise_Bk, -1.0).argmax(1)
    rescue_Bk = nn.functional.one_hot(saved_B, present_Bk.shape[1]).bool() & present_Bk
    return torch.where(kept_Bk.any(1, keepdim=True), kept_Bk, rescue_Bk)


def _head_of(section: Mapping[str, Any]) -> Head:
    """Return the head of a card; keys that it has lost since are left out, its state says whether it still fits."""
    name, options = registry.split_section(section)
    known = {field.name for field in dataclasses.fields(registry.load("head", name).Config)}
    kept = {key: value for key, value in options.items() if key in known}
    head: Head = registry.build("head", {"name": name, **kept})
    return head


class FrozenStudent:
    """A fused body, and the backbones that give it vectors.

    Args:
        card: classes; its `features` holds the sections of backbones, fusion and head.
        store: folder of the feature store; None keeps no vectors.
        device: where the backbones compute.

    Raises:
        RecipeError: the sections do not fit each other.
        TeacherError, PluginError: weights of a backbone are missing.
    """

    def __init__(self, card: ClassCard, *, store: Path | None, device: str) -> None:
        assert card.features is not None
        self.card, self.store = card, store
        self.fusion = FusionSection(**card.features["fusion"])
        head = _head_of(card.features["head"])
        sections = [BackboneSection(**section) for section in card.features["backbones"]]
        self.backbones = [Backbone(section, device) for section in sections]
        self.shapes = {b.name: (len(b.section.layers), b.dim) for b in self.backbones}
        fusion = build_fusion(self.fusion, self.shapes)
        self._body = FusedBody(
            fusion,
            head.module(fusion.out_dim, len(card.labels)),
            self.shapes,
            normalise=self.fusion.normalise,
            backbone_dropout=self.fusion.backbone_dropout,
        )

    @classmethod
    def of(cls, recipe: Recipe, labels: Sequence[str]) -> FrozenStudent:
        """Return the untrained student that a recipe asks for."""
        section = recipe.student
        features: dict[str, Any] = {
            "backbones": [dataclasses.asdict(b) for b in section.backbones],
            "fusion": dataclasses.asdict(section.fusion),
            "head": dict(section.head),
        }
        card = ClassCard(tuple(labels), section.multilabel, "frozen", 0, features)
        return cls(card, store=Path(recipe.run.features), device=device_name(recipe.trainer.accelerator))

    @classmethod
    def open(cls, folder: Path, card: ClassCard, *, store: Path | None, device: str) -> FrozenStudent:
        """Return a saved student.

        Raises:
            RunError: its head is missing, or a backbone's weights are not those it was trained on.
        """
        assert card.features is not None
        student = cls(card, store=store, device=device)
        for backbone in student.backbones:
            trained_on = card.features["fingerprints"][backbone.name]
            if backbone.fingerprint != trained_on:
                raise RunError(
                    f"The weights of {backbone.section.model} are not those this head was trained on "
                    f"({backbone.fingerprint} instead of {trained_on}).",
                    where=str(folder),
                )
        try:
            student.body.load_state_dict(load_file(folder / HEAD))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise RunError(f"This head cannot be read: {error}.", where=str(folder)) from error
        return student

    @property
    def body(self) -> nn.Module:
        return self._body

    def use(self, names: Sequence[str]) -> None:
        """Read texts with some of the backbones only.

        Raises:
            RecipeError: there is no such backbone, none is left, or the head never learned to do without one.
        """
        known = list(self.shapes)
        for name in names:
            if name not in known:
                raise RecipeError(
                    f"This student has no backbone '{name}'; it has {', '.join(known)}.",
                    where="backbones",
                    nearest=nearest_name(name, known),
                )
        if not names:
            raise RecipeError("At least one backbone is needed.", where="backbones")
        if len(set(names)) < len(known) and not self.fusion.backbone_dropout:
            raise RecipeError(
                "This head was trained with all of its backbones at all times, so none can be left out.",
                where="backbones",
                mend="Train with student.fusion.backbone_dropout above 0, say 0.2.",
            )
        self.backbones = [backbone for backbone in self.backbones if backbone.name in names]

    def read(self, texts: Sequence[str], console: Console) -> FeatureInputs:
        return read_features(self.backbones, texts, console, store=self.store)

    def prepare(self, inputs: Any, n: int) -> None:
        """Learn the statistics of the training texts, where vectors are normalised by them."""
        if self.fusion.normalise == "standard":
            self._body.set_statistics(inputs, n)

    def save(self, folder: Path) -> None:
        """Write head and sections; the backbones themselves are named, not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        fingerprints = {backbone.name: backbone.fingerprint for backbone in self.backbones}
        features = {**(self.card.features or {}), "fingerprints": fingerprints}
        save_file({k: v.contiguous() for k, v in self._body.state_dict().items()}, folder / HEAD)
        dataclasses.replace(self.card, features=features).save(folder)
