"""The corpus that every machine has: enough documents and labels, no leak between its splits, no import."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lmteach.corpus.corpus import Corpus
from lmteach.corpus.load import load_corpus
from lmteach.corpus.python_docs import MIN_WORDS, labels_of, public_home, split_of
from lmteach.errors import CorpusError
from lmteach.recipe.schema import CorpusSection


def load(*packages: str) -> Corpus:
    section = CorpusSection(
        name="python-docs",
        packages=list(packages) or ["stdlib"],
        label_text="{name}: {description}",
        n_dev=200,
    )
    corpus = load_corpus(section, 108, Path())
    corpus.test.unseal()
    return corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load()


def test_there_are_enough_documents_and_labels(corpus: Corpus) -> None:
    n = len(corpus.train) + 200 + len(corpus.test)
    assert n > 4_000
    assert len(corpus.labels) > 300
    assert 0.33 < len(corpus.test) / n < 0.37
    used = set(corpus.train.gold.ids) | set(corpus.test.gold.ids)
    assert 290 < len(used) < len(corpus.labels)


def test_no_text_is_in_both_splits_or_twice_in_one(corpus: Corpus) -> None:
    texts = Counter(
        " ".join(text.split())
        for part in (corpus.train, corpus.dev, corpus.test)
        for text in part.texts(range(len(part)))
    )
    assert texts.most_common(1)[0][1] == 1


def test_labels_are_the_module_and_the_packages_above_it(corpus: Corpus) -> None:
    names = corpus.labels.names
    for document in corpus.test:
        borne = sorted((names[i] for i in document.labels or ()), key=len)
        assert borne == labels_of(borne[-1])
        module = document.id.removeprefix("_py")
        assert module.startswith(borne[0]) or document.id.startswith("_collections_abc.")


def test_every_document_says_something_and_does_not_start_with_its_qualified_name(corpus: Corpus) -> None:
    for document in corpus.train:
        assert len(document.text.split()) >= MIN_WORDS
        assert document.title == ""
    starts = sum(document.text.startswith(document.id) for document in corpus.train)
    assert starts < 0.02 * len(corpus.train)  # a few C docstrings begin so themselves


def test_c_and_python_modules_are_both_there(corpus: Corpus) -> None:
    ids = {*corpus.train.ids, *corpus.dev.ids, *corpus.test.ids}
    assert {"math.cosh", "itertools.groupby", "json.dumps", "argparse.ArgumentParser"} <= ids
    assert not [i for i in ids if i.startswith(("antigravity", "this.", "idlelib", "test.", "lib2to3"))]


def test_labels_speak_of_their_module(corpus: Corpus) -> None:
    texts = dict(zip(corpus.labels.names, corpus.labels.texts, strict=True))
    assert texts["heapq"].startswith("heapq: Heap queue algorithm")
    assert {"json.decoder", "keyword"} <= set(texts)
    assert not [name for name in texts if name.startswith("encodings.c")]
    assert not [name for name in texts if any(part.startswith("_") for part in name.split("."))]
    described = sum(": " in text for text in texts.values())
    assert described > 0.75 * len(texts)


def test_it_is_the_same_every_time(corpus: Corpus) -> None:
    assert load().fingerprint == corpus.fingerprint


def test_the_split_depends_on_the_id_alone() -> None:
    assert [split_of(name) for name in ("json.dumps", "math.gcd", "os.walk")] == ["train", "test", "train"]
    drawn = Counter(split_of(f"module.function{i}") for i in range(20_000))
    assert 0.34 < drawn["test"] / 20_000 < 0.36


@pytest.mark.parametrize(
    ("module", "home"),
    [
        ("json.decoder", "json.decoder"),
        ("concurrent.futures._base", "concurrent.futures"),
        ("_pydecimal", "decimal"),
        ("_pydatetime", "datetime"),
        ("_py_abc", "abc"),
        ("_collections_abc", "collections.abc"),
        ("_strptime", None),
        ("torch._inductor.config", None),
        ("numpy.lib._utils_impl", "numpy.lib"),
        ("package.__main__", "package"),
    ],
)
def test_private_modules_belong_to_public_ones(module: str, home: str | None) -> None:
    assert public_home(module) == home


def test_an_installed_package_is_parsed_without_being_imported() -> None:
    script = """
import sys
from pathlib import Path
from lmteach.corpus.load import load_corpus
from lmteach.recipe.schema import CorpusSection
corpus = load_corpus(CorpusSection(name="python-docs", packages=["hypothesis"], n_dev=10), 1, Path())
assert "hypothesis" not in sys.modules
assert "hypothesis.stateful" in corpus.labels.names
print(len(corpus.train) + len(corpus.test))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.slow
def test_big_packages_grow_it_to_tens_of_thousands() -> None:
    pytest.importorskip("transformers")
    corpus = load("stdlib", "torch", "transformers", "numpy", "sklearn")
    assert len(corpus.train) + 200 + len(corpus.test) > 18_000
    assert len(corpus.labels) > 3_000


@pytest.mark.parametrize("package", ["numpyy", "no/such", "", "a.b"])
def test_a_package_that_is_not_installed_names_the_command(package: str) -> None:
    with pytest.raises(CorpusError) as caught:
        load(package)
    assert "is not installed" in str(caught.value)
    if package == "numpyy":
        assert caught.value.nearest == "numpy"
        assert "pip install numpyy" in str(caught.value)
