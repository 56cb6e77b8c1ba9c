"""The one entry to a corpus: from a recipe's section to documents, drawn, checked and sealed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmteach.corpus import python_docs
from lmteach.corpus.cache import StoredCorpus, load_cached
from lmteach.corpus.catalog import CATALOG, find_known
from lmteach.corpus.corpus import Corpus, Documents
from lmteach.corpus.formats.huggingface import open_hub
from lmteach.corpus.formats.registry import open_corpus
from lmteach.corpus.records import ReadOptions, Source
from lmteach.corpus.splits import check_apart, draw_extra, draw_split, draw_test
from lmteach.errors import CorpusError
from lmteach.recipe.schema import CorpusSection


def load_corpus(section: CorpusSection, seed: int, folder: Path) -> Corpus:
    """Return the corpus that a recipe asks for.

    Args:
        section: the recipe's `corpus`.
        seed: the run's seed; decides which documents are drawn.
        folder: where a relative `path` starts.

    Returns:
        The corpus; its dev documents show no gold, its test documents are sealed.

    Raises:
        CorpusError: the data are missing, break a rule, or are too few.
    """
    seed = seed if section.seed is None else section.seed
    name, stored = load_stored(section, folder)
    if "train" not in stored.splits:
        raise CorpusError(f"The corpus {name} has no training documents.")
    everything = stored.splits["train"]
    split = draw_split(len(everything), section.n_train, section.n_dev, seed)
    train, dev = everything.take(split.train), everything.take(split.dev).without_gold()
    check_apart(split, train, dev)
    test = stored.splits.get(section.test)
    if test is not None:
        test = test.take(draw_test(len(test), section.n_test, seed)).sealed()
    extra = _draw_extra(section, seed, stored, name)
    parts = [*stored.labels.names, "", *stored.labels.texts]
    parts += ["" if documents is None else documents.fingerprint for documents in (train, dev, test)]
    parts += [] if extra is None else [extra.fingerprint]
    fingerprint = hashlib.sha256("\n".join(f"{len(p)}:{p}" for p in parts).encode()).hexdigest()
    return Corpus(name, stored.labels, train, dev if len(dev) else None, test, fingerprint, extra)


def _draw_extra(section: CorpusSection, seed: int, stored: StoredCorpus, name: str) -> Documents | None:
    """Draw the unlabelled documents that the recipe asks for; their gold, if any, is for the oracle alone."""
    if section.n_extra == 0:
        return None
    extra = stored.splits.get("extra")
    if extra is None:
        raise CorpusError(
            f"The corpus {name} has no unlabelled documents.",
            where="corpus.n_extra",
            mend="Put them beside the training documents as extra.jsonl, or set corpus.n_extra=0.",
        )
    return extra.take(draw_extra(len(extra), section.n_extra, seed)).without_gold()


def load_stored(section: CorpusSection, folder: Path) -> tuple[str, StoredCorpus]:
    """Return a corpus's name and all of its splits, whole, as they lie in the cache."""
    options = ReadOptions(
        text=section.text,
        label_text=section.label_text,
        separator=section.separator,
        empty=section.empty,
        packages=tuple(section.packages),
    )
    name, source = _find_source(section, folder, options)
    stored = load_cached(name, source, options)
    if name in CATALOG:
        where = section.path or str(CATALOG[name].folder())
        CATALOG[name].check_counts(stored.n_read, len(stored.labels), where)
    return name, stored


def _find_source(section: CorpusSection, folder: Path, options: ReadOptions) -> tuple[str, Source]:
    """Find the texts that the recipe means: a path comes before a known name."""
    if "python-docs" in (section.name, section.format):
        return "python-docs", python_docs.open_source(options)
    if section.path:
        path = folder / Path(section.path).expanduser()
        name = section.name or path.resolve().name.split(".")[0]
        if section.format == "huggingface" and not path.exists():
            return name, open_hub(section.path)
        return name, open_corpus(path, section.format, options)
    if not section.name:
        raise CorpusError(
            "The recipe names no texts.",
            where="corpus",
            mend="Set corpus.path to a folder or file, or corpus.name to a set that `lmteach data` lists.",
        )
    known = find_known(section.name)
    place = known.folder()
    layout = known.found(place)
    if layout is None:
        raise known.missing_error(place)
    return known.name, open_corpus(place, layout.format, options)
