"""A tagger as an ONNX graph, and the proof on real texts that it does what the student does.

Shape legend: n texts, l labels, B a batch, T tokens, D dimensions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.errors import LmteachError, RunError, missing_package
from lmteach.serving.about import About, OnnxFile
from lmteach.serving.onnx_student import OnnxEncoder

if TYPE_CHECKING:
    from lmteach.search.protocol import Vectors

GRAPH, GRAPH_INT8 = "onnx/model.onnx", "onnx/model_int8.onnx"
GREATEST_DIFFERENCE = 1e-4  # between any number of the two vectors of a text, fp32
INT8_LEAST_COSINE, INT8_SAME_FIRST = 0.98, 0.95


def export_onnx(
    folder: Path, encoder: Any, about: About, texts: Sequence[str], labels_lD: Vectors, *, int8: bool
) -> OnnxFile:
    """Write a student's graph into its exported folder, and check it against the student.

    Args:
        folder: the exported folder, tokenizer included.
        encoder: the student, a torch module.
        about: what is known of it; its lengths are used.
        texts: real texts to compare on.
        labels_lD: the student's label vectors.
        int8: quantise the weights, a row at a time; the result is refused where it changes too much.

    Raises:
        PluginError: a package is missing.
        RunError: the student cannot be exported, or its graph is not the same student.
    """
    _need("onnx", "onnxscript", "onnxruntime", "tokenizers")
    if not (folder / "tokenizer.json").is_file():
        raise RunError(
            "This student's tokenizer has no tokenizer.json, so it cannot be used without transformers.",
            mend="Export it without --onnx.",
        )
    (folder / GRAPH).parent.mkdir(exist_ok=True)
    reference_nD = _encode_fp32(encoder, texts)
    _write_graph(encoder, folder / GRAPH)
    graph = _compare(folder, about, GRAPH, texts, reference_nD, labels_lD)
    if not graph.greatest_difference <= GREATEST_DIFFERENCE:
        raise RunError(
            f"The ONNX graph is not the student: on {graph.n_texts} texts its vectors differ by up to "
            f"{graph.greatest_difference:.2g}, more than {GREATEST_DIFFERENCE:g}.",
            mend="Export without --onnx, and report the encoder that it happens with.",
        )
    if not int8:
        return graph
    _quantise(folder / GRAPH, folder / GRAPH_INT8)
    small = _compare(folder, about, GRAPH_INT8, texts, reference_nD, labels_lD)
    if not (small.least_cosine >= INT8_LEAST_COSINE and small.same_first_label >= INT8_SAME_FIRST):
        raise RunError(
            f"int8 spoils this student: on {small.n_texts} texts the least cosine to its own vectors is "
            f"{small.least_cosine:.3f} (asked: {INT8_LEAST_COSINE}) and {small.same_first_label:.1%} keep their "
            f"first label (asked: {INT8_SAME_FIRST:.0%}).",
            mend="Export with --onnx alone: fp32.",
        )
    return dataclasses.replace(small, int8=True)


def _need(*packages: str) -> None:
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, needed_by="--onnx", command="pip install 'lmteach[onnx]'")


def _encode_fp32(encoder: Any, texts: Sequence[str]) -> Vectors:
    from lmteach.students.encode import encode_texts

    return encode_texts(encoder, texts, "search", device="cpu", precision="fp32")


def _write_graph(encoder: Any, path: Path) -> None:
    import torch

    class Vectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.encoder({"input_ids": input_ids, "attention_mask": attention_mask})
            return found

    rows, tokens = torch.export.Dim("B", min=1), torch.export.Dim("T", min=2)
    shape = {0: rows, 1: tokens}
    noise = io.StringIO()  # the exporter prints its progress, whatever `verbose` says
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            warnings.simplefilter("ignore")
            example = encoder.collate(encoder.tokenize(["two texts of", "a different length"], "search"))
            torch.onnx.export(
                Vectors().eval(),
                (example["input_ids"], example["attention_mask"]),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["vectors"],
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # of torch.export, onnxscript and onnx, with classes of their own
        said = str(error).strip().splitlines()
        raise RunError(
            f"The student cannot be written as ONNX ({type(error).__name__}: {said[0] if said else ''}).",
            mend="Export it without --onnx.",
        ) from error
    finally:
        logging.disable(before)


def _quantise(graph: Path, small: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        # A scale a row instead of one a matrix: MiniLM's least cosine rises from .93 to .987.
        quantize_dynamic(str(graph), str(small), per_channel=True)
    except Exception as error:
        raise RunError(
            f"The graph cannot be quantised: {error}.", mend="Export with --onnx alone."
        ) from error
    finally:
        logging.disable(before)


def _compare(
    folder: Path, about: About, graph: str, texts: Sequence[str], reference_nD: Vectors, labels_lD: Vectors
) -> OnnxFile:
    try:
        found_nD = OnnxEncoder(folder, about, graph).encode(texts, "search")
    except LmteachError:
        raise
    except Exception as error:  # of onnxruntime
        raise RunError(f"The ONNX graph does not run: {error}.", mend="Export without --onnx.") from error
    first = [(vectors_nD @ labels_lD.T).argmax(1) for vectors_nD in (reference_nD, found_nD)]
    return OnnxFile(
        path=graph,
        greatest_difference=float(np.abs(found_nD - reference_nD).max()),
        least_cosine=float((found_nD * reference_nD).sum(1).min()),
        same_first_label=float((first[0] == first[1]).mean()),
        n_texts=len(texts),
    )
