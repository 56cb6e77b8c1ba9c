"""A tiny random Llama with a real tokenizer, and labelled sentences that a head can learn from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_llama(minilm1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of random weights large enough that every token matters; MiniLM's word pieces."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("weights") / "llama"
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=6000,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        dtype="float32",
    )
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    for file in minilm1.glob("token*"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Texts of many lengths, one empty, one beyond any cut, one twice."""
    made = [" ".join(["ships carry wheat to many ports of the world"] * n) for n in (1, 3, 2, 1)]
    return [*made, "", "oil", "profits rose in the third quarter, the bank said.", "word " * 300]
