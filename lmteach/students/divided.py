"""A module whose weights lie divided among the ranks while it trains (FSDP), and whole again afterwards."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from lightning import LightningModule


class Divided:
    """A module in training of which each of n ranks holds 1/n: weights, gradients and the optimizer's state.

    By torch's `fully_shard`: the weights of each repeated layer are gathered where it computes and freed after
    it, forward and backward; the gradient comes out as the mean over ranks, as DDP's does. `working` is what
    trains. The module itself stands without weights meanwhile, and gets the trained ones by `restore`.

    Args:
        module: called as a whole, `module(...)`; every rank has the same weights in it.
        mesh: of one dimension, the ranks.
        bf16: gather weights in that format, for a forward pass under autocast; shards and sums stay fp32. Autocast
            alone would keep a whole bf16 copy of the weights on every rank until the backward pass.

    Raises:
        RecipeError: its weights cannot be divided.
    """

    def __init__(self, module: nn.Module, mesh: Any, *, bf16: bool = False) -> None:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
        from torch.distributed.tensor import DTensor

        scalars = [name for name, p in module.named_parameters() if not p.ndim]
        if scalars:
            raise RecipeError(
                f"The student's weight '{scalars[0]}' is a single number, which cannot be divided among ranks.",
                where="trainer.strategy",
                mend="Set trainer.strategy=ddp, or give the weight a dimension.",
            )
        self.module, self._own = module, [p for _, _, p in _weights(module)]
        self.working = _move_weights(module)
        dtypes: dict[str, Any] = (
            {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if bf16 else {}
        )
        policy = MixedPrecisionPolicy(**dtypes, cast_forward_inputs=False)
        try:
            for part in (*repeated_layers(self.working), self.working):
                whole = [p for p in part.parameters() if not isinstance(p, DTensor)]
                fully_shard(part, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
                for p in whole:
                    p.data = p.data.new_empty(0)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise RecipeError(
                f"This student cannot be divided among ranks: {error}",
                where="trainer.strategy",
                mend="Set trainer.strategy=ddp.",
            ) from error

    def restore(self) -> None:
        """Gather the weights into the module, on the CPU of every rank; all ranks must call it.

        Buffers (a running mean, say) come along, each rank's own.
        """
        places = zip(_weights(self.module), self._own, _weights(self.working), strict=True)
        with torch.no_grad():
            for (place, name, _), own, (_, _, divided) in places:
                if not own.numel():  # one that stands in two places is gathered once
                    own.data = _gathered(divided)
                setattr(place, name, own)  # the same object, for whoever kept a reference to it
            for buffer, trained in zip(self.module.buffers(), self.working.buffers(), strict=True):
                buffer.data = trained.detach().cpu().clone()

    def held_bytes(self, optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, float]:
        """Return what this rank holds: `rank_weight_bytes`, and `rank_state_bytes` of the optimizers."""
        states = [v for o in optimizers for state in o.state.values() for v in state.values()]
        return {
            "rank_weight_bytes": float(sum(_local_bytes(p) for p in self.working.parameters())),
            "rank_state_bytes": float(sum(_local_bytes(v) for v in states if isinstance(v, Tensor))),
        }


def divide(owner: LightningModule, module: nn.Module) -> Divided | None:
    """Return a part of a Lightning module divided among the ranks, if its trainer's strategy is for that."""
    from lightning.pytorch.strategies import ModelParallelStrategy

    if not isinstance(owner.trainer.strategy, ModelParallelStrategy):
        return None
    mesh = owner.device_mesh["data_parallel"]
    return Divided(module, mesh, bf16=owner.trainer.precision == "bf16-mixed")


def repeated_layers(module: nn.Module) -> list[nn.Module]:
    """Return a model's repeated layers, as a transformer's: the members of each outermost list of one class.

    Lists within a layer (a mixture's experts, say) stay part of it.
    """
    if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1:
        return [layer for layer in module if any(True for _ in layer.parameters())]
    return [layer for child in module.children() for layer in repeated_layers(child)]


def _move_weights(module: nn.Module) -> nn.Module:
    """Return a copy of a module that has its weights; the module itself keeps their shapes only."""
    shapes = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in module.parameters()
    }
    copied = copy.deepcopy(module, dict(shapes))
    for (place, name, p), (target, _, _) in zip(_weights(module), _weights(copied), strict=True):
        setattr(target, name, p)
        setattr(place, name, shapes[id(p)])
    return copied


def _weights(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Return every place of a weight, a shared one's too: the module, its name there, the weight."""
    return [
        (place, name, p)
        for place in module.modules()
        for name, p in place.named_parameters(recurse=False, remove_duplicate=False)
    ]


def _gathered(p: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return (p.full_tensor() if isinstance(p, DTensor) else p).detach().cpu().clone()


def _local_bytes(value: Tensor) -> int:
    from torch.distributed.tensor import DTensor

    local: Tensor = value.to_local() if isinstance(value, DTensor) else value
    return local.numel() * local.element_size()


def most(n: int, device: torch.device) -> int:
    """Return the greatest of all ranks' numbers."""
    import torch.distributed as dist

    n_1 = torch.tensor([n], device=device)
    dist.all_reduce(n_1, op=dist.ReduceOp.MAX)
    return int(n_1)
