"""Fusions: the paper's numbers, and what an absent backbone may not do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import registry
from lmteach.errors import RecipeError
from lmteach.recipe.schema import FusionSection
from lmteach.students.fusions import FUSIONS, Concat, Max, Mean, build_fusion, power_norm

PAPER = {"llama": (5, 4096), "bert": (1, 1024), "roberta": (1, 1024)}
SHAPES = {"a": (2, 3), "b": (1, 3), "c": (1, 5)}


def vectors(n: int, shapes: dict[str, tuple[int, int]], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, *shape, generator=generator) for name, shape in shapes.items()}


def all_present(n: int, k: int) -> torch.Tensor:
    return torch.ones(n, k, dtype=torch.bool)


def test_the_power_norm_of_the_papers_oracle() -> None:
    """PAPERS section 2: sigma .5, X row-major 0, .1, ... 1.3 as 7 x 2: entry [6, 6] = 0.6541393002."""
    x = torch.arange(14, dtype=torch.float64).reshape(7, 2) / 10
    assert power_norm(x @ x.T, 0.5)[6, 6].item() == pytest.approx(0.6541393002, abs=1e-10)


@pytest.mark.parametrize(("n_classes", "expected"), [(2, 25_485_058), (8, 25_486_600), (52, 25_497_908)])
def test_the_papers_head_has_the_papers_parameters(n_classes: int, expected: int) -> None:
    with torch.device("meta"):
        fusion = build_fusion(FusionSection(name="cooccurrence", width=1024, sigma=0.5), PAPER)
        head = registry.build("head", {"name": "mlp"}).module(fusion.out_dim, n_classes)
    assert fusion.out_dim == 49 + 4096
    assert sum(p.numel() for part in (fusion, head) for p in part.parameters()) == expected


def test_cooccurrence_is_the_normed_products_and_the_base_as_it_is() -> None:
    shapes = {"a": (2, 3), "b": (1, 3)}
    fusion = build_fusion(FusionSection(name="cooccurrence", width=3, sigma=0.7), shapes)
    given_ = vectors(4, shapes)
    fused = fusion(given_, all_present(4, 2))
    stacked = torch.cat([given_["a"], given_["b"]], dim=1)
    for text in range(4):
        pairs = 2 * torch.sigmoid(0.7 * stacked[text] @ stacked[text].T) - 1
        torch.testing.assert_close(fused[text, :9].reshape(3, 3), pairs)
        torch.testing.assert_close(fused[text, 9:], given_["a"][text].mean(0))


def test_cooccurrence_appends_the_base_that_is_named() -> None:
    section = FusionSection(name="cooccurrence", width=3, base="c")
    fusion = build_fusion(section, SHAPES)
    given_ = vectors(2, SHAPES)
    assert fusion.out_dim == 16 + 5
    torch.testing.assert_close(fusion(given_, all_present(2, 3))[:, 16:], given_["c"][:, 0])


def test_mean_max_and_concat_over_equal_widths() -> None:
    shapes = {"a": (2, 4), "b": (1, 4)}
    given_, present = vectors(5, shapes), all_present(5, 2)
    stacked = torch.cat([given_["a"], given_["b"]], dim=1)
    torch.testing.assert_close(Mean(shapes, width=None)(given_, present), stacked.mean(1))
    torch.testing.assert_close(Max(shapes, width=None)(given_, present), stacked.amax(1))
    torch.testing.assert_close(Concat(shapes, width=None)(given_, present), stacked.flatten(1))


@pytest.mark.parametrize("name", ["mean", "max", "cooccurrence"])
def test_unequal_widths_need_one(name: str) -> None:
    with pytest.raises(RecipeError, match=r"one width; there are \[3, 5\]"):
        build_fusion(FusionSection(name=name), SHAPES)  # type: ignore[arg-type]
    assert build_fusion(FusionSection(name=name, width=3), SHAPES).out_dim  # type: ignore[arg-type]


def test_only_vectors_of_another_width_are_projected() -> None:
    fusion = build_fusion(FusionSection(name="mean", width=3), SHAPES)
    assert sum(p.numel() for p in fusion.parameters()) == 5 * 3 + 3


@pytest.mark.parametrize("name", sorted(FUSIONS))
@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), st.integers(0, 5))
def test_what_stands_in_an_absent_backbone_is_not_looked_at(
    name: str, present: list[bool], seed: int
) -> None:
    torch.manual_seed(0)
    fusion = build_fusion(FusionSection(name=name, width=3), SHAPES).eval()  # type: ignore[arg-type]
    given_ = vectors(2, SHAPES, seed)
    spoilt = {
        key: x if here else torch.full_like(x, 1e4)
        for (key, x), here in zip(given_.items(), present, strict=True)
    }
    mask = torch.tensor(present).expand(2, -1)
    torch.testing.assert_close(fusion(given_, mask), fusion(spoilt, mask))
    assert torch.isfinite(fusion(given_, mask)).all()
    if not all(present[:2]):
        assert not torch.allclose(fusion(spoilt, mask), fusion(spoilt, all_present(2, 3)))
