"""What it costs to ask a causal model about K labels of a document: three ways, one run, one machine.

    python benchmarks/teacher.py                                          # SmolLM2-135M on this machine
    python benchmarks/teacher.py --precision fp32 --threads 1 --clock cpu # where others use the machine too
    python benchmarks/teacher.py --random-weights smollm2-135m --device cuda --documents 512
    python benchmarks/teacher.py --random-weights qwen2-1.5b --device cuda --documents 256

(a) generate(max_new_tokens=8), one pair at a time, as LMTX's authors do; (b) one forward a pair, in padded
batches, last position only; (c) this project's teacher; (d) transformers' key-value cache, expanded to the
labels, one document at a time. All read the same tokens in the same precision. Documents are docstrings of
the standard library; with random weights, where there is no tokenizer, they are random token ids.

The share is (c)'s rate of arithmetic on the fewest tokens that must be read (each document once, each label
once), two operations a weight of the linear layers, attention not counted, over the rate that matrix products
of these layers reach alone, measured in the same run.
"""

from __future__ import annotations

import argparse
import ast
import copy
import pkgutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmteach import weights
from lmteach.teaching.causal.frame import Frame
from lmteach.teaching.causal.linear import PackedProjection, PlainProjection, can_pack
from lmteach.teaching.causal.loading import LoadOptions, choose, load_model, load_tokenizer
from lmteach.teaching.causal.plain import PlainBackbone
from lmteach.teaching.causal.request import Request
from lmteach.teaching.causal.scorer import Scorer, default_batch_tokens
from lmteach.teaching.prompts import load_prompt

SHAPES = {
    "smollm2-135m": ("Llama", 576, 1536, 30, 9, 3, 49152),
    "qwen2-1.5b": ("Qwen2", 1536, 8960, 28, 12, 2, 151936),
    "llama-8b": ("Llama", 4096, 14336, 32, 32, 8, 128256),
}
CLOCK = {"read": time.perf_counter}
ANSWERS = (10, 11)  # which tokens' logits are read makes no difference to the time


@dataclass(frozen=True)
class Task:
    """Requests to read, and the model that reads them."""

    model: Any
    requests: list[Request]

    @property
    def n_tokens(self) -> int:
        """The fewest tokens that must be read."""
        return sum(request.n_tokens for request in self.requests)


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(0)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.clock == "cpu":
        CLOCK["read"] = time.process_time
    device, dtype = choose(arguments.device, arguments.precision)
    task = _random_task(arguments, device, dtype) if arguments.random_weights else _task(arguments)
    n_labels = arguments.labels
    print(
        f"{arguments.random_weights or arguments.model}, {dtype}, {device}, {torch.get_num_threads()} threads; "
        f"{len(task.requests)} documents, {n_labels} labels, {task.n_tokens / len(task.requests):.0f} tokens each"
    )
    scorer = Scorer(task.model, arguments.batch_tokens, compile_parts=arguments.compile)
    print(f"(c) is: {scorer.backbone.name}, {scorer.batch_tokens} tokens at once")
    rates = {}
    for letter, name, measure in (
        ("a", "generate(8) a pair", lambda: _generated(task, arguments.few)),
        ("b", "one forward a pair, padded batches", lambda: _plain(task, arguments.few)),
        ("c", "this teacher", lambda: _ours(scorer, task.requests)),
        ("d", "expanded key-value cache", lambda: _expanded(task, arguments.few)),
    ):
        if letter in arguments.methods:
            rates[letter] = measure()
            print(f"({letter}) {name:36s} {rates[letter]:9.3f} documents/s")
    for other, goal in (("a", 10), ("b", 7)):
        if other in rates and "c" in rates:
            print(f"c/{other} = {rates['c'] / rates[other]:.1f} (goal {goal})")
    if "c" in rates:
        _print_share(task, rates["c"], scorer.batch_tokens)


def _print_share(task: Task, documents_per_second: float, batch_tokens: int) -> None:
    config = task.model.config
    shapes = _layer_shapes(config)
    operations = 2.0 * config.num_hidden_layers * sum(i * o for i, o in shapes)
    ours = documents_per_second * task.n_tokens / len(task.requests) * operations
    device, dtype = task.model.device, task.model.dtype
    n_rows = batch_tokens if device.type == "cpu" else min(batch_tokens, 16384)
    layers = _product_rate(shapes, n_rows, device, dtype)
    square = _product_rate([(4096, 4096)], 4096, device, dtype)
    print(
        f"(c) computes {ours / 1e9:,.0f} GFLOP/s; matrix products alone: {layers / 1e9:,.0f} on this model's"
    )
    print(f"layers ({n_rows} rows), {square / 1e9:,.0f} on 4096 x 4096")
    print(f"share of the layers' rate {ours / layers:.0%}, of the square's {ours / square:.0%} (goal 65%)")


def _layer_shapes(config: Any) -> list[tuple[int, int]]:
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    kv = config.num_key_value_heads * head
    return [
        (width, width + 2 * kv),
        (width, width),
        (width, 2 * config.intermediate_size),
        (config.intermediate_size, width),
    ]


def _product_rate(
    shapes: Sequence[tuple[int, int]], n_rows: int, device: torch.device, dtype: torch.dtype
) -> float:
    """Return operations a second of the products alone, packed where the machine can, best of 20 passes."""
    project = PackedProjection if can_pack(device, dtype) else PlainProjection
    layers = [
        (
            project(torch.randn(o, i, device=device, dtype=dtype), None),
            torch.randn(n_rows, i, device=device, dtype=dtype),
        )
        for i, o in shapes
    ]

    def once() -> None:
        for layer, x in layers:
            layer(x)

    seconds = min(_seconds(once, device) for _ in range(20))
    return sum(2.0 * n_rows * i * o for i, o in shapes) / seconds


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    with torch.inference_mode():
        _wait(device)
        start = CLOCK["read"]()
        run()
        _wait(device)
        return CLOCK["read"]() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rate(run: Callable[[], object], n_documents: int, device: torch.device, passes: int = 2) -> float:
    """Return documents a second, the best of some passes behind a warm one."""
    run()
    return n_documents / min(_seconds(run, device) for _ in range(passes))


def _ours(scorer: Scorer, requests: list[Request]) -> float:
    return _rate(
        lambda: scorer.rows(requests, ANSWERS), len(requests), scorer.readout.weight_VD.device, passes=3
    )


def _plain(task: Task, n_documents: int) -> float:
    requests = task.requests[:n_documents]
    backbone = PlainBackbone(task.model, 4 * default_batch_tokens(task.model.device))
    head = task.model.get_output_embeddings().weight[list(ANSWERS)].float()
    return _rate(lambda: (backbone.hidden(requests).float() @ head.T).cpu(), len(requests), task.model.device)


def _generated(task: Task, n_documents: int) -> float:
    requests = task.requests[: max(1, n_documents // 4)]
    device = task.model.device

    def run() -> None:
        for request in requests:
            for suffix in request.suffixes:
                ids = torch.tensor([request.prefix + suffix], device=device)
                mask = torch.ones_like(ids)
                task.model.generate(
                    ids, attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=0
                )

    return _rate(run, len(requests), device, passes=1)


def _expanded(task: Task, n_documents: int) -> float:
    requests = task.requests[:n_documents]
    model, device = task.model, task.model.device
    head = model.get_output_embeddings().weight[list(ANSWERS)].float()

    def run() -> None:
        for request in requests:
            prefix = torch.tensor([request.prefix], device=device)
            cache = copy.deepcopy(model.model(prefix, use_cache=True).past_key_values)
            cache.batch_repeat_interleave(len(request.suffixes))
            longest = max(map(len, request.suffixes))
            ids = torch.zeros((len(request.suffixes), longest), dtype=torch.long)
            mask = torch.ones((len(request.suffixes), len(request.prefix) + longest), dtype=torch.long)
            for row, suffix in enumerate(request.suffixes):
                ids[row, : len(suffix)] = torch.tensor(suffix)
                mask[row, len(request.prefix) + len(suffix) :] = 0
            out = model.model(ids.to(device), attention_mask=mask.to(device), past_key_values=cache)
            at = torch.tensor([len(s) - 1 for s in request.suffixes], device=device)
            (out.last_hidden_state[torch.arange(len(at), device=device), at].float() @ head.T).cpu()

    return _rate(run, len(requests), device)


def _task(arguments: argparse.Namespace) -> Task:
    folder = weights.resolve(arguments.model)
    model = load_model(folder, LoadOptions(arguments.device, arguments.precision))
    frame = Frame(load_tokenizer(folder), load_prompt(arguments.prompt), arguments.document_tokens, 64)
    texts = _long_enough(_docstrings(), 6 * arguments.document_tokens)
    documents = frame.documents([next(texts) for _ in range(arguments.documents)])
    names = _long_enough(_docstrings(), 6 * arguments.label_tokens)
    labels = [
        ids[: arguments.label_tokens] + frame.tail
        for ids in frame.candidates([next(names) for _ in range(99)])
    ]
    requests = [
        Request(
            document,
            tuple(labels[(7 * i + j) % len(labels)] for j in range(arguments.labels)),
            n_preamble=frame.n_preamble,
        )
        for i, document in enumerate(documents)
    ]
    return Task(model, requests)


def _random_task(arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> Task:
    import transformers

    family, width, inner, n_layers, n_heads, n_kv, n_vocabulary = SHAPES[arguments.random_weights]
    config = getattr(transformers, f"{family}Config")(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv,
        vocab_size=n_vocabulary,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    with device:
        model = getattr(transformers, f"{family}ForCausalLM")(config).to(dtype).eval().requires_grad_(False)
    # A frame of the prompt's usual length around documents and labels of the asked length.
    n_prefix, n_suffix = arguments.document_tokens + 48, arguments.label_tokens + 6
    ids = torch.randint(
        0, n_vocabulary, (arguments.documents, n_prefix + arguments.labels * n_suffix)
    ).tolist()
    requests = [
        Request(
            tuple(row[:n_prefix]),
            tuple(tuple(row[n_prefix + j * n_suffix :][:n_suffix]) for j in range(arguments.labels)),
        )
        for row in ids
    ]
    return Task(model, requests)


def _docstrings() -> Iterator[str]:
    for module in pkgutil.iter_modules([str(Path(ast.__file__).parent)]):
        path = Path(ast.__file__).parent / f"{module.name}.py"
        if not path.is_file():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text:
                    yield text


def _long_enough(texts: Iterator[str], n_chars: int) -> Iterator[str]:
    """Join neighbours until each text surely fills its tokens."""
    joined = ""
    for text in texts:
        joined += text + "\n\n"
        if len(joined) >= n_chars:
            yield joined
            joined = ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=weights.SMOLLM2)
    parser.add_argument("--prompt", default="about")
    parser.add_argument("--random-weights", choices=sorted(SHAPES))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument(
        "--few", type=int, default=8, help="documents for the slow ways; a quarter of them for (a)"
    )
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--document-tokens", type=int, default=350)
    parser.add_argument("--label-tokens", type=int, default=20)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--methods", default="abcd")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--clock", default="wall", choices=["wall", "cpu"], help="cpu: seconds of all threads"
    )
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
