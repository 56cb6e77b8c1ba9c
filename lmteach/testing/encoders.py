"""The contract suite of encoders. Shape legend: n texts, D dimensions."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lmteach.students.protocol import Encoder, Kind
from lmteach.testing.texts import HOSTILE_TEXTS

if TYPE_CHECKING:
    from lmteach.search.protocol import Vectors

TEXTS = (
    "A note on bread and butter.",
    "moon",
    "The committee of the regions was consulted on the proposal for a directive. " * 6,
    "naïve café",
)


class EncoderContract:
    """What every `Encoder` must do. Override `build`, and `config` unless its class is announced.

    A student is opened again as its own plugin with `model=FOLDER`, so an encoder's Config has a key `model`.

    Attributes:
        tolerance: how far a vector's elements may differ between two ways to encode the same text.
    """

    tolerance: ClassVar[float] = 1e-4

    def build(self, **keys: Any) -> Encoder:
        """Return the encoder, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def config(self) -> type[Any]:
        """Return its Config."""
        raise NotImplementedError("a contract suite needs `config`")

    def test_it_has_a_config_with_a_model(self) -> None:
        """Recipes find its keys there; a saved student is opened by `model`."""
        assert dataclasses.is_dataclass(self.config())
        assert "model" in {field.name for field in dataclasses.fields(self.config())}

    def test_it_is_a_module_and_an_encoder(self) -> None:
        """Lightning trains it, so it must be a module."""
        from torch.nn import Module

        encoder = self.build()
        assert isinstance(encoder, Encoder)
        assert isinstance(encoder, Module)
        assert any(p.requires_grad for p in encoder.parameters()), "nothing to train"

    def test_vectors_are_normalised(self) -> None:
        """Inner products are taken for cosines everywhere."""
        encoder = self.build()
        for kind in ("document", "search", "label"):
            vectors_nD = encode(encoder, TEXTS, kind)
            assert vectors_nD.shape == (len(TEXTS), encoder.dim)
            np.testing.assert_allclose(np.linalg.norm(vectors_nD, axis=1), 1, atol=1e-3)

    def test_the_forward_gives_fp32(self) -> None:
        """The loss needs its digits."""
        import torch

        encoder = self.build()
        batch = encoder.collate(encoder.tokenize(TEXTS, "document"))
        vectors_BD = encoder(batch)
        assert vectors_BD.dtype == torch.float32
        assert vectors_BD.shape == (len(TEXTS), encoder.dim)

    def test_a_vector_depends_on_its_text_alone(self) -> None:
        """Neighbours and padding must not show: batches are sorted by length."""
        encoder = self.build()
        together = encode(encoder, [*TEXTS, *HOSTILE_TEXTS], "search")[: len(TEXTS)]
        alone = np.concatenate([encode(encoder, [text], "search") for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=self.tolerance)
        backward = encode(encoder, TEXTS[::-1], "search")[::-1]
        np.testing.assert_allclose(together, backward, atol=self.tolerance)

    def test_texts_are_told_apart(self) -> None:
        """An encoder that says the same of everything passes the rest of this suite."""
        cosines = encode(self.build(), TEXTS, "search")
        assert (cosines @ cosines.T)[0, 1:].max() < 1 - 1e-3

    def test_another_instance_encodes_the_same(self) -> None:
        """A resumed run and a student at work have a new instance."""
        np.testing.assert_allclose(
            encode(self.build(), TEXTS, "search"), encode(self.build(), TEXTS, "search"), atol=self.tolerance
        )

    def test_hostile_texts_have_vectors(self) -> None:
        """Empty, huge and odd texts are cut and encoded."""
        encoder = self.build()
        assert np.isfinite(encode(encoder, HOSTILE_TEXTS, "search")).all()
        assert np.isfinite(encode(encoder, HOSTILE_TEXTS, "label")).all()

    def test_no_texts_no_tokens(self) -> None:
        """An empty corpus or label set is no error."""
        assert list(self.build().tokenize([], "search")) == []

    def test_every_trainable_weight_gets_a_gradient(self) -> None:
        """One without stops distributed training."""
        encoder: Any = self.build()
        encoder.train()
        encoder(encoder.collate(encoder.tokenize(TEXTS, "document")))[:, 0].sum().backward()
        missing = [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []

    def test_a_saved_encoder_comes_back_the_same(self) -> None:
        """The run folder holds the student; `predict` opens it, and so does sentence-transformers."""
        import torch

        encoder: Any = self.build()
        with torch.no_grad():  # as training would
            for parameter in encoder.parameters():
                parameter.mul_(1 + 0.01 * torch.rand(parameter.shape, generator=torch.manual_seed(1)))
        expected = encode(encoder, TEXTS, "search")
        with tempfile.TemporaryDirectory() as folder:
            encoder.save(Path(folder) / "student")
            again = encode(self.build(model=str(Path(folder) / "student")), TEXTS, "search")
            np.testing.assert_allclose(again, expected, atol=self.tolerance)
            if importlib.util.find_spec("sentence_transformers") is not None:
                from sentence_transformers import SentenceTransformer

                theirs = SentenceTransformer(str(Path(folder) / "student"), device="cpu")
                vectors_nD = np.asarray(theirs.encode(list(TEXTS), show_progress_bar=False))
                np.testing.assert_allclose(vectors_nD, expected, atol=max(self.tolerance, 1e-4))


def encode(encoder: Encoder, texts: Any, kind: Kind) -> Vectors:
    """Return the vectors [n, D] of texts, as a run computes them."""
    from lmteach.students.encode import encode_texts

    return encode_texts(encoder, list(texts), kind)
