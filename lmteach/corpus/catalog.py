"""Known data sets: their files, where they come from, their licence, and the counts they must have.

Standard library only, so that listing them costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmteach.corpus.layouts import JSONL, JSONL_DEV, JSONL_EXTRA, PECOS, XMC, Form, Layout
from lmteach.corpus.published import NumberedRows, TextFolders
from lmteach.errors import CorpusError, nearest_name

XC_REPOSITORY = (
    "the Extreme Classification Repository (the raw text of the set, "
    "http://manikvarma.org/downloads/XC/XMLRepository.html)"
)
PECOS_ARCHIVE = "the PECOS archive (https://archive.org/download/pecos-dataset/xmc-base/{}.tar.gz)"


@dataclass(frozen=True)
class KnownSet:
    """One data set of the catalogue.

    Attributes:
        name: as recipes write it in `corpus.name`.
        about: what it holds, in a few words.
        n_labels: size of its label set; None where it depends on the machine.
        counts: documents of each split.
        layouts: the forms that its files may come in, the preferred one first; none = nothing to fetch.
        origin: where the files come from.
        licence: as its publisher states it.
        note: what a user should know before relying on it.
        published: its publisher's own form, where that is another one; it is written anew in the first layout.
    """

    name: str
    about: str
    n_labels: int | None
    counts: Mapping[str, int]
    layouts: tuple[Layout, ...]
    origin: str
    licence: str = "not stated by its publisher"
    note: str = ""
    published: Form | None = None

    def folder(self) -> Path:
        """Return where its files are looked for: `$LMTEACH_DATA`, or `data` in the working directory."""
        return data_root() / self.name

    @property
    def forms(self) -> list[tuple[Form, Layout]]:
        """Every form that its files may come in, with the layout that they are put in place in."""
        forms: list[tuple[Form, Layout]] = [(layout, layout) for layout in self.layouts]
        return forms if self.published is None else [*forms, (self.published, self.layouts[0])]

    def found(self, folder: Path) -> Layout | None:
        """Return the layout that `folder` holds completely, None if it holds none."""
        names = file_names(folder)
        return next((layout for layout in self.layouts if not layout.missing(names)), None)

    def missing_error(self, folder: Path) -> CorpusError:
        """Return the error that says which files `folder` lacks, where they come from, and what gets them."""
        names = file_names(folder)
        lacks = "; or ".join(", ".join(layout.missing(names)) for layout in self.layouts)
        return CorpusError(
            f"The data set {self.name} is not there. Missing: {lacks}.",
            where=str(folder),
            mend=f"Fetch it from {self.origin}, then run: lmteach data {self.name} --from ARCHIVE\n"
            "  It is looked for under $LMTEACH_DATA, or ./data; corpus.path names any other folder.",
        )

    def check_counts(self, counts: Mapping[str, int], n_labels: int, where: str) -> None:
        """Make sure that a set has the documents and labels it is known to have.

        Raises:
            CorpusError: a number differs.
        """
        expected = {**self.counts, "labels": self.n_labels}
        found = {**counts, "labels": n_labels}
        wrong = [
            f"{what}: {found.get(what, 0):,} instead of {number:,}"
            for what, number in expected.items()
            if number is not None and found.get(what, 0) != number
        ]
        if wrong:
            raise CorpusError(
                f"These are not the files of {self.name}: {'; '.join(wrong)}.",
                where=where,
                mend=f"Fetch it from {self.origin}; or use these files under another corpus.name.",
            )


def data_root() -> Path:
    """Return `$LMTEACH_DATA`, or the folder `data` of the working directory."""
    configured = os.environ.get("LMTEACH_DATA")
    return Path(configured).expanduser() if configured else Path("data")


def file_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, sorted; nothing where there is none."""
    return sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []


def _known(*sets: KnownSet) -> dict[str, KnownSet]:
    return {known.name: known for known in sets}


CATALOG = _known(
    KnownSet(
        "python-docs",
        "docstrings of the standard library and of any installed package; labels: their modules",
        None,
        {},
        (),
        "this machine's own Python",
        "that of each package (Python: PSF)",
    ),
    KnownSet(
        "eurlex-4k",
        "EU law, EuroVoc descriptors",
        3_956,
        {"train": 15_449, "test": 3_865},
        (PECOS, XMC),
        PECOS_ARCHIVE.format("eurlex-4k"),
        note="about 20 labels are bare EuroVoc numbers instead of words",
    ),
    KnownSet(
        "wiki10-31k",
        "Wikipedia articles, social tags",
        30_938,
        {"train": 14_146, "test": 6_616},
        (PECOS, XMC),
        PECOS_ARCHIVE.format("wiki10-31k"),
    ),
    KnownSet(
        "amazoncat-13k",
        "Amazon products, categories",
        13_330,
        {"train": 1_186_239, "test": 306_782},
        (XMC, PECOS),
        XC_REPOSITORY,
        note="the PECOS archive has it too, but without titles apart",
    ),
    KnownSet(
        "lf-wikiseealso-320k",
        "Wikipedia articles, the articles under their 'See also'",
        312_330,
        {"train": 693_082, "test": 177_515},
        (XMC,),
        XC_REPOSITORY,
    ),
    KnownSet(
        "lf-wikipedia-500k",
        "Wikipedia articles, their categories",
        501_070,
        {"train": 1_813_391, "test": 783_743},
        (XMC,),
        XC_REPOSITORY,
        note="the PECOS archive's wiki-500k is another set",
    ),
    KnownSet(
        "eurlex57k",
        "EU law, EuroVoc descriptors",
        4_271,
        {"train": 45_000, "dev": 6_000, "test": 6_000},
        (JSONL_DEV,),
        "the authors of EURLEX57K (Chalkidis et al., ACL 2019), as JSON lines with a labels.txt",
        "texts (c) European Union, reuse allowed with attribution (2011/833/EU); the set CC BY-SA 4.0",
    ),
    KnownSet(
        "debtags",
        "Debian packages, their tags",
        593,
        {"train": 25_159, "test": 5_141},
        (JSONL,),
        "Debian's package index and debtags vocabulary, as JSON lines with a labels.txt",
        "descriptions under each package's licence; vocabulary GPL-2",
        note="one document has a title only: corpus.text='{title}\\n{text}'",
    ),
    KnownSet(
        "r8",
        "Reuters-21578 news, one of 8 topics",
        8,
        {"train": 5_485, "test": 2_189},
        (JSONL,),
        "Reuters-21578 (single-label, ModApte split), as JSON lines with a labels.txt",
        "research use",
    ),
    KnownSet(
        "sst2",
        "film review sentences, positive or negative",
        2,
        {"train": 67_349, "dev": 872, "test": 1_821},
        (JSONL_DEV,),
        "the Stanford Sentiment Treebank (Socher et al., 2013), as JSON lines with a labels.txt",
        "research use",
    ),
    KnownSet(
        "r52",
        "Reuters-21578 news, one of 52 topics",
        52,
        {"train": 6_532, "test": 2_568},
        (JSONL,),
        "Reuters-21578 (single-label, ModApte split; Cardoso-Cachopo's r52), as JSON lines with a labels.txt",
        "research use",
    ),
    KnownSet(
        "agnews",
        "news titles and first sentences, one of 4 sections",
        4,
        {"train": 120_000, "test": 7_600},
        (JSONL,),
        "AG's news topic classification data set (Zhang et al., 2015), ag_news_csv.tar.gz",
        "non-commercial use",
        published=NumberedRows(("World", "Sports", "Business", "Sci/Tech")),
    ),
    KnownSet(
        "mr",
        "long film reviews, positive or negative",
        2,
        {},
        (JSONL,),
        "Cornell's movie review data (whole reviews), split into train and test, as JSON lines with a labels.txt",
        "research use",
        note="LLMEmbed does not say which release or split of the reviews it used; its lengths rule out sentences",
    ),
    KnownSet(
        "imdb",
        "film reviews, positive or negative",
        2,
        {"train": 25_000, "test": 25_000},
        (JSONL,),
        "the Large Movie Review data set (Maas et al., 2011; aclImdb_v1.tar.gz at "
        "https://ai.stanford.edu/~amaas/data/sentiment/)",
        "research use",
        note="corpus.n_extra reads its 50,000 unlabelled reviews",
        published=TextFolders({"neg": "negative", "pos": "positive"}, unlabelled="unsup"),
    ),
    KnownSet(
        "umls-regions",
        "anatomical terms, related to the human nervous system or not",
        2,
        {"train": 1_000, "test": 1_000, "extra": 10_000},
        (JSONL_EXTRA,),
        "the UMLS Metathesaurus, as the authors of LlamBERT cut it; labels.txt holds 'no' and 'yes'",
        "UMLS licence",
        note="`extra` are the terms that the language model labels",
    ),
)


def find_known(name: str) -> KnownSet:
    """Return a set of the catalogue.

    Raises:
        CorpusError: there is none of that name.
    """
    if name not in CATALOG:
        raise CorpusError(
            f"There is no data set named '{name}'.",
            where="corpus.name",
            nearest=nearest_name(name, CATALOG),
            mend="`lmteach data` lists the known ones; corpus.path takes any folder or file.",
        )
    return CATALOG[name]
