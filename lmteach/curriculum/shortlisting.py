"""From texts to candidates: the student encodes documents and labels, and a search finds each document's nearest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.corpus.documents import Column
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.sharded import encode_in_parts
from lmteach.search.shortlist import Shortlist, make_shortlist

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.search.protocol import Searcher
    from lmteach.students.protocol import Encoder, Kind


def make_or_load_shortlist(
    context: RunContext,
    encoder: Encoder,
    documents: Documents,
    positions: npt.NDArray[np.int64],
    path: Path,
) -> Shortlist:
    """Return the documents' nearest labels by `encoder`, from `path` where they are already."""
    if context.ranks.share(path.is_file()):
        return Shortlist.load(path)
    return make_shortlist_at(path, context, encoder, build_index(context, encoder), documents, positions)


def make_shortlist_at(
    path: Path,
    context: RunContext,
    encoder: Encoder,
    searcher: Searcher,
    documents: Documents,
    positions: npt.NDArray[np.int64],
) -> Shortlist:
    """Write the documents' nearest labels to `path` and return them.

    Several ranks encode a part of the documents each; the first searches for all: two builds of an approximate
    index differ.
    """
    vectors = encode_documents(context, encoder, documents, positions)
    if context.ranks.is_first:
        path.parent.mkdir(parents=True, exist_ok=True)
        search(context, searcher, vectors, positions).save(path)
    context.ranks.barrier()
    return Shortlist.load(path)


def find_candidates(
    context: RunContext,
    encoder: Encoder,
    searcher: Searcher,
    documents: Documents,
    positions: npt.NDArray[np.int64],
) -> Shortlist:
    """Return the documents' nearest labels, by an index that `build_index` made with the same encoder."""
    return search(context, searcher, encode_documents(context, encoder, documents, positions), positions)


def encode_documents(
    context: RunContext,
    encoder: Encoder,
    documents: Documents,
    positions: npt.NDArray[np.int64],
    name: str = "encode documents",
) -> npt.NDArray[np.float32]:
    """Return the vectors of the documents at `positions`; of several ranks the first gets all, the others a part."""

    def encode_part(rows: slice) -> npt.NDArray[np.float32]:
        texts = Column(documents.take(positions[rows]), "text")
        return encode(context, encoder, texts, "search", name)

    return encode_in_parts(
        context.ranks, len(positions), encode_part, lambda dim: _room(context, len(positions), dim)
    )


def encode_labels(context: RunContext, encoder: Encoder, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the vectors of label texts; of several ranks the first gets all, the others a part."""
    return encode_in_parts(
        context.ranks,
        len(texts),
        lambda rows: encode(context, encoder, texts[rows], "label", "encode labels"),
        lambda dim: _room(context, len(texts), dim),
    )


def encode(
    context: RunContext, encoder: Encoder, texts: Sequence[str], kind: Kind, name: str
) -> npt.NDArray[np.float32]:
    """Encode texts with the recipe's settings, with progress; many vectors lie in a file in the run's folder."""
    from lmteach.students.encode import encode_texts

    with context.console.stage(name, len(texts), unit="texts") as stage:
        return encode_texts(
            encoder,
            texts,
            kind,
            device=context.device,
            precision=context.search_precision(),
            batch_tokens=context.recipe.search.batch_tokens,
            out=_room(context, len(texts), encoder.dim),
            progress=lambda n: stage.advance(n),
        )


def _room(context: RunContext, n: int, dim: int) -> npt.NDArray[np.float32]:
    from lmteach.students.room import new_vectors

    return new_vectors(n, dim, None if context.spent_path is None else context.spent_path.parent)


def build_index(context: RunContext, encoder: Encoder) -> Searcher:
    """Encode the label set and build the recipe's searcher over it; of several ranks only the first's is built."""
    searcher = context.new_searcher()
    vectors = encode_labels(context, encoder, context.corpus.labels.texts)
    if context.ranks.is_first:
        searcher.build(vectors)
    return searcher


def search(
    context: RunContext,
    searcher: Searcher,
    vectors: npt.NDArray[np.float32],
    positions: npt.NDArray[np.int64],
) -> Shortlist:
    """Return the labels nearest to document vectors, with progress."""
    sizes = context.recipe.search
    with context.console.stage("search", len(positions)) as stage:
        return make_shortlist(
            positions,
            vectors,
            searcher,
            n_retrieved=sizes.n_retrieved,
            n_kept=sizes.n_kept,
            advance=lambda n: stage.advance(n),
        )
