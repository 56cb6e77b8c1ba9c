"""What a teacher would read, before it is asked: the parts it is made of, and the tokens of their prompts.

A recipe's teacher may be made of others (`ensemble`, `cascade`); each part that answers by itself is estimated
alone. A teacher helps by two optional methods: `count_tokens(judgements)`, from its tokenizer, and
`flops_per_token()`, from its model's configuration. Neither may load weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach import registry, weights
from lmteach.errors import LmteachError, RecipeError, TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.stored_teacher import narrow
from lmteach.tracking.run_folder import write_whole
from lmteach.types import Judgement

CHARACTERS_A_TOKEN = 4.0
_CONFIG_FILES = [
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
]  # a hub model's tokenizer and sizes, not its weights


@dataclass(frozen=True)
class TeacherPart:
    """A teacher that answers by itself: the recipe's, or a member of it.

    Attributes:
        where: its recipe section, say `teacher.members[0]`.
        name: the plugin's.
        cls: the plugin.
        config: its keys.
    """

    where: str
    name: str
    cls: type[Any]
    config: Any

    @property
    def title(self) -> str:
        """Its name, model and prompt, as far as it has them."""
        prompt = getattr(self.config, "prompt", "")
        shown = [self.name, str(getattr(self.config, "model", "")), prompt if isinstance(prompt, str) else ""]
        return " ".join(text for text in shown if text)

    @property
    def judges(self) -> bool:
        """Whether it judges candidates at all; `segment` and `title` do not."""
        return hasattr(self.cls, "judge")

    @property
    def runs_here(self) -> bool:
        """Whether its model runs on this machine."""
        return hasattr(self.cls, "flops_per_token")

    @property
    def document_cut(self) -> int | None:
        """Tokens at which it cuts a document, about; None where its keys do not say."""
        characters = getattr(self.config, "max_document_chars", None)
        in_characters = int(characters / CHARACTERS_A_TOKEN) if characters else None
        return getattr(self.config, "max_document_tokens", None) or in_characters

    @property
    def reads_prompts(self) -> bool:
        """Whether it reads tokens, here or elsewhere."""
        return hasattr(self.cls, "count_tokens") or hasattr(self.config, "prompt")


def teacher_parts(section: Mapping[str, Any], where: str = "teacher") -> list[TeacherPart]:
    """Return the parts that a resolved teacher section is made of; none of them is built.

    Raises:
        PluginError, RecipeError: a part is unknown, or has wrong keys.
    """
    name, options = registry.split_section(section)
    cls = registry.load("teacher", name)
    config = registry.configure(cls, options, where)
    members = list(_members(cls, options, where))
    if not members:
        return [TeacherPart(where, name, cls, config)]
    return [part for key, member in members for part in teacher_parts(member, key)]


def _members(
    cls: type[Any], options: Mapping[str, Any], where: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for field in dataclasses.fields(cls.Config):
        if field.metadata.get("plugin") != "teacher" or not options.get(field.name):
            continue
        value = options[field.name]
        if isinstance(value, Mapping):
            yield f"{where}.{field.name}", value
        else:
            yield from ((f"{where}.{field.name}[{i}]", member) for i, member in enumerate(value))


@dataclass(frozen=True)
class TokenEstimate:
    """Prompt tokens: `document` once a document, `pair` a candidate of it, `label` once for each label met.

    `how` says where the numbers come from.
    """

    document: float
    pair: float
    label: float
    how: str

    def total(self, n_documents: int, n_pairs: int, n_labels: int) -> float:
        """Return the tokens of so many documents with so many candidates in all, of so many labels."""
        return self.document * n_documents + self.pair * n_pairs + self.label * min(n_labels, n_pairs)


def estimate_tokens(
    part: TeacherPart, sample: Sequence[Judgement], resources: TeacherResources
) -> TokenEstimate:
    """Count a sample's tokens with the teacher's own tokenizer; by the length of its texts if that is not to be had.

    Args:
        part: reads prompts.
        sample: judgements of the corpus, each with two candidates or more.
        resources: what the teacher is built with.

    Raises:
        RecipeError: the prompt does not exist.
    """
    reason = f"the teacher '{part.name}' counts none itself"
    if hasattr(part.cls, "count_tokens"):
        try:
            return _counted(part.cls(with_small_files(part.config), resources), sample)
        except RecipeError:
            raise
        except LmteachError:
            reason = "its tokenizer is not to be had"
    return _guessed(part, sample, reason)


def _counted(teacher: Any, sample: Sequence[Judgement]) -> TokenEstimate:
    """Tell apart what is read once a document, once a candidate and once a label, by counting thrice."""
    first = teacher.count_tokens(sample)
    again = teacher.count_tokens([*sample, *sample]) - first  # every label was met before
    single = [narrow(judgement, [0]) for judgement in sample]
    alone = teacher.count_tokens([*sample, *single]) - first
    n_pairs = sum(len(judgement.candidates) for judgement in sample)
    n_labels = len({candidate for judgement in sample for candidate in judgement.candidates})
    pair = (again - alone) / max(1, n_pairs - len(sample))
    how = f"by the teacher's own count on {len(sample)} document{'' if len(sample) == 1 else 's'}"
    return TokenEstimate(alone / len(sample) - pair, pair, (first - again) / max(1, n_labels), how)


def _guessed(part: TeacherPart, sample: Sequence[Judgement], reason: str) -> TokenEstimate:
    from lmteach.teaching.prompts import load_prompt

    prompt = load_prompt(part.config.prompt)
    frame = _tokens(prompt.system + prompt.user + prompt.answer)
    cut = part.document_cut or float("inf")
    document = sum(min(cut, _tokens(judgement.document)) for judgement in sample) / len(sample)
    candidates = [candidate for judgement in sample for candidate in judgement.candidates]
    candidate = sum(map(_tokens, candidates)) / max(1, len(candidates))
    how = f"at {CHARACTERS_A_TOKEN:g} characters a token, as {reason}"
    if prompt.kind in ("pointwise", "likelihood") and not part.runs_here:  # a whole prompt for each candidate
        return TokenEstimate(0.0, frame + document + candidate, 0.0, how)
    label = candidate if prompt.kind == "likelihood" else 0.0
    return TokenEstimate(frame + document, candidate, label, how)


def _tokens(text: str) -> float:
    return len(text) / CHARACTERS_A_TOKEN


def with_small_files(config: Any) -> Any:
    """Return the config with the model replaced by a folder of its tokenizer and sizes; see `small_files`."""
    folder = small_files(str(getattr(config, "model", "")))
    return config if folder is None else dataclasses.replace(config, model=str(folder))


def small_files(model: str) -> Path | None:
    """Return a folder with the tokenizer and sizes of a model, got without its weights; None for a folder here.

    Raises:
        TeacherError: neither the hub nor its cache has them, or a GGUF file cannot be read.
        PluginError: the package that should hold the model is not installed.
    """
    found = weights.locate(model) if model else None
    if not model or (found is not None and found.suffix != ".gguf"):
        return None
    if found is not None:
        return _files_in_gguf(found)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=_CONFIG_FILES, etag_timeout=5))
    except Exception as error:  # of three libraries; all mean that they are not to be had
        raise TeacherError(f"The files of '{model}' are not to be had from the hub.") from error


def _files_in_gguf(gguf: Path) -> Path:
    """Write out a GGUF file's tokenizer and sizes once; its weights, many times larger, stay as they are."""
    target = weights.cache_folder() / "tokenizers" / weights.fingerprint(gguf)
    if (target / "config.json").is_file():
        return target
    from transformers import AutoConfig, AutoTokenizer

    def write(folder: Path) -> None:
        AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)
        AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, write)
    except Exception as error:  # a damaged file, an unknown architecture, a full disk
        raise TeacherError(f"{gguf.name} cannot be read: {error}", where=str(gguf)) from error
    return target
