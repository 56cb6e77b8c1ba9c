"""Loading: devices, precision, adapters, and what goes wrong."""

import builtins
import json
import re

import pytest
import torch
from transformers import AutoConfig, AutoModel

from lmteach.errors import PluginError, TeacherError
from lmteach.teaching.causal.cost import flops_per_token
from lmteach.teaching.causal.loading import LoadOptions, choose, load_model, load_tokenizer

FP32 = LoadOptions("cpu", "fp32")


@pytest.fixture(scope="module")
def folder(make_model, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_model_is_loaded_ready_to_read(folder):
    model = load_model(folder, LoadOptions("cpu", "bf16"))
    assert (model.dtype, model.device.type, model.training) == (torch.bfloat16, "cpu", False)
    assert model.config._attn_implementation == "sdpa"
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert load_tokenizer(folder)("yes")["input_ids"]


def test_precision_on_demand():
    assert choose("cpu", "fp32") == (torch.device("cpu"), torch.float32)
    assert choose("cpu", "bf16")[1] == torch.bfloat16


def test_a_device_that_is_not_there():
    with pytest.raises(TeacherError, match="'cuda:99' is not to be had"):
        choose("cuda:99", "auto")


def test_an_adapter_changes_the_model_and_leaves_its_shape(folder, make_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        make_model("llama"), LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        bare = load_model(folder, FP32)(ids).logits
        model = load_model(folder, LoadOptions("cpu", "fp32", tmp_path / "adapter"))
        expected = adapted(ids).logits
        torch.testing.assert_close(model(ids).logits, expected, atol=1e-3, rtol=1e-3)
    assert (bare - expected).abs().max() > 0.1
    assert type(model).__name__ == "LlamaForCausalLM"


def test_an_adapter_that_does_not_fit(folder, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "target_modules": ["nothing_here"]}')
    with pytest.raises(TeacherError, match="does not fit the model"):
        load_model(folder, LoadOptions("cpu", "fp32", tmp_path))


def test_four_bits_without_bitsandbytes_name_the_command(folder, monkeypatch):
    genuine = builtins.__import__

    def without(name, *rest):
        if name == "bitsandbytes":
            raise ImportError(name)
        return genuine(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PluginError) as caught:
        load_model(folder, LoadOptions("cpu", "fp32", load_in_4bit=True))
    assert "pip install bitsandbytes" in str(caught.value)


def test_a_damaged_model_is_one_error(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load_model(tmp_path, FP32)
    with pytest.raises(TeacherError, match="tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3"])
def test_the_cost_of_a_token_is_two_operations_a_weight(make_model, tmp_path, family):
    model = make_model(family)
    model.save_pretrained(tmp_path)
    linear = [m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert flops_per_token(tmp_path) == 2 * sum(m.weight.numel() for m in linear)


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("bert", {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}),
        ("electra", {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}),
        ("mpnet", {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}),
        ("distilbert", {"dim": 32, "n_heads": 2, "hidden_dim": 48}),
        ("gpt2", {"n_embd": 32, "n_head": 2}),
        ("gpt2", {"n_embd": 32, "n_head": 2, "n_inner": 48}),
        ("gpt_neox", {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}),
        ("opt", {"hidden_size": 32, "num_attention_heads": 2, "ffn_dim": 48}),
    ],
)
def test_so_it_is_in_families_with_other_names_for_their_sizes(tmp_path, family, sizes):
    names = {"distilbert": "n_layers", "gpt2": "n_layer"}
    config = AutoConfig.for_model(family, **sizes, **{names.get(family, "num_hidden_layers"): 3})
    model = AutoModel.from_config(config)
    config.save_pretrained(tmp_path)
    weights = [
        p.numel() for name, p in model.named_parameters() if p.dim() == 2 and re.search(r"\.\d+\.", name)
    ]
    assert flops_per_token(tmp_path) == 2 * sum(weights)


def test_of_a_mixture_of_experts_those_that_a_token_visits_count(tmp_path):
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    experts = {"num_experts_per_tok": 3, "moe_intermediate_size": 16}
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 2, **sizes, **experts}))
    assert flops_per_token(tmp_path) == 2 * 2 * (32 * 8 * (2 * 4 + 2 * 2) + 3 * 3 * 32 * 16)


def test_a_configuration_without_sizes(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TeacherError, match="sizes of the model"):
        flops_per_token(tmp_path)
