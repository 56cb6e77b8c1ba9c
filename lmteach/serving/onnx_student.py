"""A tagger computed by onnxruntime: no torch, no transformers. Shape legend: n texts, T tokens, D dimensions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.errors import LmteachError, RunError
from lmteach.students.tags import Tags, nearest_tags
from lmteach.token_batches import WINDOW, token_batches

if TYPE_CHECKING:
    from lmteach.search.protocol import Vectors
    from lmteach.serving.about import About
    from lmteach.students.protocol import Kind

BATCH_TOKENS = 2048  # padded tokens a run at most


class OnnxTagger:
    """Tags texts by an exported graph.

    Args:
        folder: what `lmteach export --onnx` wrote.
        about: what it says of itself.
        names: its labels.
        searcher: over the label vectors, in the order of `names`.
        session: an open graph, to share; opened if None.
    """

    def __init__(
        self, folder: Path, about: About, names: Sequence[str], searcher: Any, session: Any = None
    ) -> None:
        self.folder, self.about = folder, about
        self.names, self.searcher = list(names), searcher
        self.session = session or OnnxEncoder(folder, about)

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        """Return the `top_k` nearest labels of each text, all of them where there are fewer."""
        return nearest_tags(self, texts, top_k)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return the normalised vectors [n, D] of documents (`search`) or labels."""
        vectors: Vectors = self.session.encode(texts, kind)
        return vectors

    def relabelled(self, names: Sequence[str], searcher: Any) -> OnnxTagger:
        """Return the same student with another label set."""
        return OnnxTagger(self.folder, self.about, names, searcher, self.session)


class OnnxEncoder:
    """Tokenizer and graph: texts in, normalised vectors out."""

    def __init__(self, folder: Path, about: About, path: str = "") -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        graph = path or (about.onnx.path if about.onnx is not None else "")
        options = onnxruntime.SessionOptions()
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdigit():  # onnxruntime has its own threads and does not look there
            options.intra_op_num_threads = int(threads)
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.session = onnxruntime.InferenceSession(
                str(folder / graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # both libraries raise classes of their own
            raise RunError(f"The ONNX student cannot be loaded: {error}.", where=str(folder)) from error
        self.tokenizer.no_padding()
        self.lengths = {
            "search": about.search_length,
            "document": about.search_length,
            "label": about.label_length,
        }

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return the vectors [n, D], computed in batches of texts of like length."""
        parts = [self._window(texts[i : i + WINDOW], kind) for i in range(0, len(texts), WINDOW)]
        return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)

    def _window(self, texts: Sequence[str], kind: Kind) -> Vectors:
        self.tokenizer.enable_truncation(self.lengths[kind])
        token_ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        vectors_nD: Vectors | None = None
        for places in token_batches([len(ids) for ids in token_ids], BATCH_TOKENS):
            found_BD = self._run([token_ids[i] for i in places])
            if not np.isfinite(found_BD).all():
                raise LmteachError("The student returned NaN or infinity.")
            if vectors_nD is None:
                vectors_nD = np.empty((len(texts), found_BD.shape[1]), dtype=np.float32)
            vectors_nD[places] = found_BD
        assert vectors_nD is not None
        return vectors_nD

    def _run(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        width = max(2, max(len(ids) for ids in token_ids))
        ids_BT = np.zeros((len(token_ids), width), dtype=np.int64)
        mask_BT = np.zeros_like(ids_BT)
        for row, ids in enumerate(token_ids):
            ids_BT[row, : len(ids)] = ids
            mask_BT[row, : len(ids)] = 1
        (vectors_BD,) = self.session.run(None, {"input_ids": ids_BT, "attention_mask": mask_BT})
        result: Vectors = vectors_BD.astype(np.float32, copy=False)
        return result
