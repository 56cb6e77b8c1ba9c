"""What a token costs, from a model's configuration alone. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmteach.errors import TeacherError

UNGATED = (
    *("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet", "deberta-v2"),
    *("gpt2", "gpt_neox", "opt"),
)
ALSO_NAMED = {  # in DistilBERT, in GPT-2, in OPT
    "num_hidden_layers": ("n_layers", "n_layer"),
    "hidden_size": ("dim", "n_embd"),
    "num_attention_heads": ("n_heads", "n_head"),
    "intermediate_size": ("hidden_dim", "n_inner", "ffn_dim"),
}


def flops_per_token(folder: Path) -> float:
    """Return the floating-point operations of one token's matrix products in a transformer: 2 a weight.

    Attention's share is left out: it is a few per cent at the lengths used here. For a mixture of experts
    only the experts that a token visits count.

    Raises:
        TeacherError: the configuration names no sizes.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        return 2.0 * _size(config, "num_hidden_layers") * _layer_weights(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherError(f"The sizes of the model in {folder} cannot be read: {error!r}") from error


def _size(config: dict[str, Any], name: str) -> int:
    """Return a size by whichever name the model's family has for it."""
    for key in (name, *ALSO_NAMED[name]):
        if config.get(key) is not None:
            return int(config[key])
    if name == "intermediate_size" and config.get("model_type") == "gpt2":
        return 4 * _size(config, "hidden_size")
    raise KeyError(name)


def _layer_weights(config: dict[str, Any]) -> int:
    width, n_heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    head = config.get("head_dim") or width // n_heads
    n_kv = config.get("num_key_value_heads") or n_heads
    attention = width * head * (2 * n_heads + 2 * n_kv)
    experts = config.get("num_experts_per_tok") or 1
    inner = config.get("moe_intermediate_size") or _size(config, "intermediate_size")
    matrices = 2 if config.get("model_type") in UNGATED else 3
    return int(attention + matrices * width * inner * experts)
