"""The contract suite of heads. Shape legend: B texts, Z the width of the fused vector, C classes."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lmteach.errors import RecipeError
from lmteach.students.protocol import Head

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SEED = 108


class HeadContract:
    """What every `Head` must do. Override `build`.

    Attributes:
        shapes: (Z, C) that it is tried with.
        tolerance: how far a logit may differ between two ways to compute it.
    """

    shapes: ClassVar[tuple[tuple[int, int], ...]] = ((12, 3), (5, 2), (1, 40))
    tolerance: ClassVar[float] = 1e-4

    def build(self, **keys: Any) -> Head:
        """Return the head, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def module(self, in_dim: int = 12, n_classes: int = 3) -> Module:
        """Return its module, with the first weights of the suite's seed."""
        import torch

        torch.manual_seed(SEED)
        return self.build().module(in_dim, n_classes)

    def test_it_is_a_head_with_a_config(self) -> None:
        """Recipes find its keys in `Config`, which must be a dataclass."""
        head = self.build()
        assert isinstance(head, Head)
        assert dataclasses.is_dataclass(getattr(type(head), "Config", None))

    def test_a_row_of_logits_a_text(self) -> None:
        """[B, Z] to [B, C] in fp32, whatever the widths; also a single text, and none."""
        import torch

        for in_dim, n_classes in self.shapes:
            module = self.module(in_dim, n_classes)
            assert isinstance(module, torch.nn.Module)
            for n in (0, 1, 7):
                logits_BC = module.eval()(vectors(n, in_dim))
                assert logits_BC.shape == (n, n_classes)
                assert logits_BC.dtype == torch.float32

    def test_a_text_in_training_may_be_alone(self) -> None:
        """The last batch of an epoch may hold one text."""
        import torch

        assert torch.isfinite(self.module().train()(vectors(1))).all()

    def test_every_trainable_weight_gets_a_gradient(self) -> None:
        """There is something to train, all of it learns, and so does what lies below: projections of the fusion."""
        import torch

        module, x_BZ = self.module().train(), vectors(32).requires_grad_()
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        assert trained, "nothing to train"
        module(x_BZ).logsumexp(dim=1).sum().backward()
        assert [name for name, p in trained.items() if p.grad is None] == []
        assert [name for name, p in trained.items() if not torch.isfinite(p.grad).all()] == []  # type: ignore[arg-type]
        assert x_BZ.grad is not None
        assert bool(x_BZ.grad.any()), "nothing reaches the fused vector"

    def test_it_learns(self) -> None:
        """A few steps on texts that a line tells apart; a head that cannot do that teaches nothing."""
        import torch

        x_BZ, module = vectors(60), self.module().train()
        classes_B = x_BZ[:, :3].argmax(dim=1)
        optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.02)
        losses = []
        for _ in range(60):
            loss = torch.nn.functional.cross_entropy(module(x_BZ), classes_B)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert sum(losses[-10:]) < 0.9 * sum(losses[:10]), losses

    def test_a_row_depends_on_its_text_alone(self) -> None:
        """Neighbours must not show when it classifies: batches are sorted by length."""
        import torch

        module, x_BZ = self.module().eval(), vectors(6)
        with torch.inference_mode():
            together = module(x_BZ)
            alone = torch.cat([module(x_BZ[i : i + 1]) for i in range(len(x_BZ))])
        torch.testing.assert_close(together, alone, atol=self.tolerance, rtol=self.tolerance)

    def test_it_classifies_the_same_twice(self) -> None:
        """Chance is for training: `predict` on the same text says the same."""
        import torch

        module, x_BZ = self.module().eval(), vectors(6)
        with torch.inference_mode():
            assert torch.equal(module(x_BZ), module(x_BZ))

    def test_texts_are_told_apart(self) -> None:
        """A head that says the same of everything passes much of this suite."""
        logits_BC = self.module().eval()(vectors(6))
        assert (logits_BC - logits_BC[0]).abs().max() > 1e-6

    def test_the_seed_decides_the_first_weights(self) -> None:
        """All ranks start from the same weights, and a run can be repeated."""
        import torch

        one, other = self.module().state_dict(), self.module().state_dict()
        assert list(one) == list(other)
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_two_modules_share_nothing(self) -> None:
        """Each run of a sweep trains its own."""
        import torch

        head = self.build()
        first, second = head.module(12, 3), head.module(12, 3)
        before = {name: value.clone() for name, value in second.state_dict().items()}
        with torch.no_grad():
            for p in first.parameters():
                p.add_(1)
        assert all(torch.equal(value, before[name]) for name, value in second.state_dict().items())

    def test_great_values_give_finite_logits(self) -> None:
        """A few dimensions of a language model are a hundred times the others."""
        import torch

        module = self.module().eval()
        for x_BZ in (1e4 * vectors(6), torch.zeros(2, 12), -1e4 * torch.ones(2, 12)):
            assert torch.isfinite(module(x_BZ)).all()

    def test_a_saved_head_comes_back_the_same(self) -> None:
        """A student is its state in safetensors, loaded into a new instance."""
        import torch
        from safetensors.torch import load_file, save_file

        module, x_BZ = self.module(), vectors(6)
        with torch.no_grad():  # as training would
            for p in module.parameters():
                p.add_(0.1 * torch.rand(p.shape, generator=torch.manual_seed(1)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "head.safetensors"
            save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
            torch.manual_seed(SEED + 1)
            again = self.build().module(12, 3)
            again.load_state_dict(load_file(path))
        torch.testing.assert_close(again.eval()(x_BZ), module.eval()(x_BZ))

    def test_a_key_that_is_not_there_is_refused(self) -> None:
        """A typo in a recipe must not pass."""
        refuses_unknown_keys(type(self.build()))


def vectors(n: int, in_dim: int = 12) -> Tensor:
    """Return n fused vectors, always the same."""
    import torch

    return torch.randn(n, in_dim, generator=torch.Generator().manual_seed(7))


def refuses_unknown_keys(cls: type[Any]) -> None:
    """Assert that the plugin's Config takes no key that it has not."""
    from lmteach import registry

    said = ""
    try:
        registry.configure(cls, {"no_such_key_anywhere": 1})
    except RecipeError as error:
        said = str(error)
    assert "no_such_key_anywhere" in said, "it took a key that it has not"
