"""A frozen language model that gives vectors of texts: any of its layers, pooled in any way, in one pass.

Shape legend: B texts of a batch, T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor

from lmteach import weights
from lmteach.errors import LmteachError, RecipeError, TeacherError
from lmteach.machine import choose_precision
from lmteach.recipe.check_classifier import backbone_name
from lmteach.recipe.schema import BackboneSection
from lmteach.students.packed_reader import PackedReader, packed_reader, pool_flat
from lmteach.students.pooled_encoder import n_positions
from lmteach.teaching.causal.generic import UnsupportedError
from lmteach.token_batches import WINDOW, token_batches

BATCH_TOKENS = {"cpu": 2048}  # padded tokens a forward; 16,384 elsewhere, where all layers must fit
FLAT_POOLINGS = {"mean", "first", "last"}
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Feature:
    """One vector a text: a layer (0 the embedding, as in `hidden_states`) and how its tokens become one."""

    layer: int
    pooling: str


class Backbone:
    """A model by its recipe section; its weights are loaded when they are first needed.

    Raises:
        TeacherError, PluginError: there are no such weights.
        RecipeError: the model has no such layer, or no pooler.
    """

    def __init__(self, section: BackboneSection, device: str) -> None:
        self.section, self.device = section, device
        self.name = backbone_name(section.name, section.model)
        self.folder: Path = weights.resolve(section.model)
        self.precision = choose_precision(section.precision, device)
        self.n_layers = int(self.config.num_hidden_layers)
        self.dim = int(self.config.hidden_size)
        for layer in section.layers:
            if not -self.n_layers - 1 <= layer <= self.n_layers:
                raise RecipeError(
                    f"The backbone {self.name} has layers 0 (the embedding) to {self.n_layers}, or -1 to "
                    f"{-self.n_layers - 1} from the end; {layer} is none.",
                    where="student.backbones",
                )

    @cached_property
    def config(self) -> Any:
        """The model's configuration."""
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder).get_text_config()
        except (OSError, ValueError) as error:
            raise TeacherError(f"The model in {self.folder} cannot be read: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """A name of the weights' content."""
        return weights.fingerprint(self.folder)

    @property
    def max_tokens(self) -> int:
        """Where a text is cut: the section's length, or the model's own where that is less."""
        return min(self.section.max_tokens, n_positions(self.config))

    @property
    def shelf(self) -> str:
        """What of a store's folder name all features of this backbone share."""
        return f"{self.fingerprint}-{self.max_tokens}-{self.precision}"

    def features(self, layers: Sequence[int] | None = None) -> list[Feature]:
        """Return the features that the section asks for, or those of other layers, layers counted from 0."""
        chosen = self.section.layers if layers is None else layers
        return [Feature(layer % (self.n_layers + 1), self.section.pooling) for layer in chosen]

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; it pads on the right, so that the first token is the first."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "right"
        return tokenizer

    @cached_property
    def model(self) -> Any:
        """The model, in evaluation mode, in its precision, on its device."""
        from transformers import AutoModel

        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        try:
            model = AutoModel.from_pretrained(self.folder, dtype=dtype)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise TeacherError(f"The model in {self.folder} cannot be loaded: {error}") from error
        return model.eval().requires_grad_(False).to(self.device)

    @cached_property
    def packed(self) -> PackedReader | None:
        """A faster way to read, for the families that have one on this device."""
        if self.device != "cpu":
            return None  # there transformers' fused kernels serve as well
        try:
            return packed_reader(self.model)
        except UnsupportedError:
            return None

    def free(self) -> None:
        """Let the weights go; they are loaded again when needed."""
        for name in ("model", "packed"):
            self.__dict__.pop(name, None)

    def run(
        self,
        texts: Sequence[str],
        features: Sequence[Feature],
        keep: Callable[[npt.NDArray[np.int64], Mapping[Feature, Vectors]], None],
    ) -> None:
        """Read texts once, by like length, the longest first; hand on each batch's vectors.

        Args:
            keep: given the positions of some texts and each feature's vectors [B, D] of them.

        Raises:
            LmteachError: the model returned NaN or infinity.
        """
        for start in range(0, len(texts), WINDOW):
            for places, token_ids in self._batches(texts[start : start + WINDOW], features):
                found = self._read(token_ids, features)
                for feature, vectors_BD in found.items():
                    if not np.isfinite(vectors_BD).all():
                        raise LmteachError(
                            f"The backbone {self.name} returned NaN or infinity at layer {feature.layer}.",
                            mend="Set its precision: fp32.",
                        )
                keep(np.asarray(places, np.int64) + start, found)

    def _batches(
        self, texts: Sequence[str], features: Sequence[Feature]
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        token_ids: list[list[int]] = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_attention_mask=False
        )["input_ids"]
        # A text of nothing still needs one token to have a vector.
        token_ids = [ids or [self.tokenizer.pad_token_id] for ids in token_ids]
        padded = any(f.pooling == "padded_mean" for f in features)
        lengths = [self.max_tokens] * len(texts) if padded else [len(ids) for ids in token_ids]
        for places in token_batches(lengths, BATCH_TOKENS.get(self.device, 16_384)):
            yield places, [token_ids[i] for i in places]

    def _read(self, token_ids: list[list[int]], features: Sequence[Feature]) -> dict[Feature, Vectors]:
        if self.packed is None or not {f.pooling for f in features} <= FLAT_POOLINGS:
            return self._read_padded(token_ids, features)
        hidden = self.packed.layers(token_ids, [f.layer for f in features])
        lengths = [len(ids) for ids in token_ids]
        return {f: pool_flat(hidden[f.layer], lengths, f.pooling).cpu().numpy() for f in features}

    @torch.inference_mode()
    def _read_padded(self, token_ids: list[list[int]], features: Sequence[Feature]) -> dict[Feature, Vectors]:
        padding = "max_length" if any(f.pooling == "padded_mean" for f in features) else "longest"
        batch = self.tokenizer.pad(
            {"input_ids": token_ids}, padding=padding, max_length=self.max_tokens, return_tensors="pt"
        )
        ids_BT, mask_BT = batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device)
        output = self.model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
        pooled: dict[Feature, Vectors] = {}
        for feature in features:
            if feature.pooling == "pooler":
                vectors = getattr(output, "pooler_output", None)
                if vectors is None:
                    raise RecipeError(f"The backbone {self.name} has no pooler.", where="student.backbones")
            else:
                vectors = pool(output.hidden_states[feature.layer], mask_BT, feature.pooling)
            pooled[feature] = vectors.float().cpu().numpy()
        return pooled


def pool(hidden_BTD: Tensor, mask_BT: Tensor, pooling: str) -> Tensor:
    """Return one vector a text from its tokens, which stand left and the padding right.

    `mean` leaves the padding out, `padded_mean` takes it in; `first` and `last` are tokens of the text.
    """
    if pooling == "first":
        return hidden_BTD[:, 0]
    if pooling == "last":
        last_B = mask_BT.sum(1) - 1
        return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]
    if pooling == "padded_mean":
        return hidden_BTD.float().mean(1)
    # As a product, so that no second tensor of all tokens is made.
    weights_B1T = (mask_BT / mask_BT.sum(1, keepdim=True))[:, None].float()
    return torch.bmm(weights_B1T, hidden_BTD.float())[:, 0]
