"""Load a causal language model for scoring: device, precision, adapters, 4-bit weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmteach.errors import RecipeError, TeacherError, missing_package
from lmteach.machine import Precision, choose_precision, device_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """How to load. `adapter` is a PEFT folder; `device` is "auto" or what torch calls it."""

    device: str = "auto"
    precision: Precision = "auto"
    adapter: Path | None = None
    load_in_4bit: bool = False


def choose(device: str, precision: Precision) -> tuple[torch.device, torch.dtype]:
    """Return the device meant, and bf16 where it computes that fast, else fp32, unless one is demanded.

    Raises:
        TeacherError: torch does not know the device, or it is not there.
    """
    try:
        place = device_name(device)
    except RecipeError as error:
        raise TeacherError(f"The device '{device}' is not to be had.", where="teacher.device") from error
    dtype = torch.bfloat16 if choose_precision(precision, place) == "bf16" else torch.float32
    return torch.device(place), dtype


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder.

    Raises:
        TeacherError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # from four libraries
        raise TeacherError(f"The tokenizer in {folder} cannot be loaded: {error}") from error


def load_model(folder: Path, options: LoadOptions) -> Any:
    """Return the model in evaluation mode, with SDPA attention: a block mask is silently wrong under "eager".

    Raises:
        TeacherError: the weights cannot be loaded, or the model has no SDPA attention.
        PluginError: peft or bitsandbytes is needed and not installed.
    """
    from transformers import AutoModelForCausalLM

    device, dtype = choose(options.device, options.precision)
    keywords: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if options.load_in_4bit:
        keywords |= {"quantization_config": _four_bit(dtype), "device_map": {"": device}}
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_pretrained(folder, **keywords)
    except Exception as error:
        raise TeacherError(f"The model in {folder} cannot be loaded: {error}") from error
    if model.config._attn_implementation != "sdpa":
        raise TeacherError(f"The model in {folder} has no SDPA attention.")
    if options.adapter is not None:
        model = _with_adapter(model, options.adapter, merge=not options.load_in_4bit)
    if not options.load_in_4bit:
        model = model.to(device)
    log.info("teacher loaded: %s, %s on %s", folder.name, dtype, device)
    return model.eval().requires_grad_(False)


def _four_bit(dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        command = "pip install bitsandbytes"
        raise missing_package("bitsandbytes", needed_by="load_in_4bit", command=command) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _with_adapter(model: Any, adapter: Path, *, merge: bool) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise missing_package("peft", needed_by="An adapter", command="pip install peft") from error
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter))
    except Exception as error:
        raise TeacherError(f"The adapter in {adapter} does not fit the model: {error}") from error
    return adapted.merge_and_unload() if merge else adapted.base_model.model


class _quiet:  # noqa: N801
    """Silence transformers' progress bars, which would tear ours."""

    def __enter__(self) -> None:
        from transformers.utils import logging as theirs

        self._was = theirs.is_progress_bar_enabled()
        theirs.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging as theirs

        if self._was:
            theirs.enable_progress_bar()
