"""Texts to features: each text is read once for all, and a killed extraction goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmteach.recipe.schema import BackboneSection
from lmteach.students import features as module
from lmteach.students.backbone import Backbone
from lmteach.students.features import FeatureInputs, read_features
from lmteach.tracking.console import Console


class Counted(Backbone):
    """Counts the texts it reads, and dies after `dies_after` batches."""

    def __init__(self, section: BackboneSection, dies_after: int | None = None) -> None:
        super().__init__(section, "cpu")
        self.n_read, self.n_batches, self.dies_after = 0, 0, dies_after

    def _read(self, token_ids: list[list[int]], features: Any) -> Any:
        if self.n_batches == self.dies_after:
            raise KeyboardInterrupt
        self.n_batches += 1
        self.n_read += len(token_ids)
        return super()._read(token_ids, features)


def section(model: Path, **keys: Any) -> BackboneSection:
    return BackboneSection(
        **{"model": str(model), "name": "b", "max_tokens": 24, "precision": "fp32", **keys}
    )


def read(backbone: Backbone, texts: list[str], store: Path | None) -> FeatureInputs:
    return read_features([backbone], texts, Console(quiet=True), store=store)


def everything(inputs: FeatureInputs) -> dict[str, torch.Tensor]:
    return inputs.collate(range(inputs.n))


def test_the_store_gives_what_memory_gives(tiny_llama: Path, sentences: list[str], tmp_path: Path) -> None:
    one, two = (Counted(section(tiny_llama, layers=[-1, 1])) for _ in range(2))
    stored, kept = everything(read(one, sentences, tmp_path)), everything(read(two, sentences, None))
    assert stored["b"].shape == (len(sentences), 2, 64)
    torch.testing.assert_close(stored, kept, rtol=2e-3, atol=2e-3)  # another batch, rounded to fp16
    assert torch.equal(stored["b"][0], stored["b"][3]), "the same text"
    assert one.n_read == len(set(sentences)), "a text that stands twice is read once"


def test_a_second_run_reads_what_is_new_and_no_more(
    tiny_llama: Path, sentences: list[str], tmp_path: Path
) -> None:
    read(Counted(section(tiny_llama)), sentences[:4], tmp_path)
    again = Counted(section(tiny_llama))
    mixed = everything(read(again, list(reversed(sentences)), tmp_path))
    assert again.n_read == len(set(sentences)) - len(set(sentences[:4]))
    fresh = everything(read(Counted(section(tiny_llama)), list(reversed(sentences)), None))
    torch.testing.assert_close(mixed, fresh, rtol=2e-3, atol=2e-3)
    known = Counted(section(tiny_llama), dies_after=0)
    read(known, sentences, tmp_path)
    assert "model" not in known.__dict__, "its weights were not even loaded"


@pytest.mark.parametrize(
    "changed", [{"max_tokens": 12}, {"layers": [1]}, {"pooling": "last"}, {"stored": "fp32"}]
)
def test_other_features_are_kept_apart(
    tiny_llama: Path, sentences: list[str], tmp_path: Path, changed: dict[str, Any]
) -> None:
    read(Counted(section(tiny_llama)), sentences, tmp_path)
    other = Counted(section(tiny_llama, **changed))
    found = everything(read(other, sentences, tmp_path))
    assert other.n_read == len(set(sentences))
    fresh = everything(read(Counted(section(tiny_llama, **changed)), sentences, None))
    torch.testing.assert_close(found, fresh, rtol=2e-3, atol=2e-3)


def test_other_weights_are_kept_apart(tiny_llama: Path, minilm1: Path, tmp_path: Path) -> None:
    read(Counted(section(tiny_llama)), ["a text"], tmp_path)
    other = Counted(section(minilm1))
    assert read(other, ["a text"], tmp_path).shapes == {"b": (1, 384)}
    assert other.n_read == 1


def test_a_killed_extraction_goes_on_where_it_stopped(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmteach.students.backbone.BATCH_TOKENS", {"cpu": 8})
    texts = [f"text number {i}" for i in range(20)]
    dying = Counted(section(tiny_llama), dies_after=4)
    with pytest.raises(KeyboardInterrupt):
        read(dying, texts, tmp_path)
    assert 0 < dying.n_read < 20
    again = Counted(section(tiny_llama))
    resumed = everything(read(again, texts, tmp_path))
    assert again.n_read == 20 - dying.n_read
    torch.testing.assert_close(
        resumed, everything(read(Counted(section(tiny_llama)), texts, None)), rtol=2e-3, atol=2e-3
    )


def test_what_was_read_is_written_while_the_rest_is_read(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a kill that no `finally` survives costs seconds, not the pass."""
    monkeypatch.setattr("lmteach.students.backbone.BATCH_TOKENS", {"cpu": 8})
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)
    texts = [f"text number {i}" for i in range(8)]
    seen = []

    class Looking(Counted):
        def _read(self, token_ids: list[list[int]], features: Any) -> Any:
            column = module.column_of(tmp_path, self, features[0])
            seen.append((len(column), self.n_read))
            return super()._read(token_ids, features)

    read(Looking(section(tiny_llama)), texts, tmp_path)
    assert len(seen) > 2
    assert all(written == n_read for written, n_read in seen)


def test_backbones_of_the_same_weights_are_one_pass(
    tiny_llama: Path, sentences: list[str], tmp_path: Path
) -> None:
    first, second = (
        Counted(section(tiny_llama, name="x")),
        Counted(section(tiny_llama, name="y", pooling="last")),
    )
    both = read_features([first, second], sentences, Console(quiet=True), store=tmp_path)
    assert (first.n_read, second.n_read) == (len(set(sentences)), 0)
    alone = everything(read(Counted(section(tiny_llama, pooling="last")), sentences, None))
    torch.testing.assert_close(everything(both)["y"], alone["b"], rtol=2e-3, atol=2e-3)
    assert not np.allclose(everything(both)["x"], alone["b"], atol=0.1)


def test_no_texts_are_no_features(tiny_llama: Path, tmp_path: Path) -> None:
    assert read(Counted(section(tiny_llama), dies_after=0), [], tmp_path).n == 0
