"""Lightning's loggers under guard: one that fails is dropped, and training goes on."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.loggers import Logger


class GuardedLogger(Logger):
    """Passes on to another logger what the Trainer says, until that one fails; Lightning's own log on rank 0 alone.

    Args:
        inner: any logger of Lightning's.
        failed: told once what went wrong.
    """

    def __init__(self, inner: Logger, failed: Callable[[BaseException], None]) -> None:
        super().__init__()
        self.inner, self.failed = inner, failed
        self.works = True

    @property
    def name(self) -> str:
        return "lmteach"

    @property
    def version(self) -> str:
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._pass_on(lambda: self.inner.log_metrics(dict(metrics), step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a run's recipe is told once, whole, at its start."""

    def save(self) -> None:
        self._pass_on(self.inner.save)

    def finalize(self, status: str) -> None:
        self._pass_on(lambda: self.inner.finalize(status))

    def _pass_on(self, call: Callable[[], object]) -> None:
        if not self.works:
            return
        try:
            call()
        except Exception as error:  # a full disk, a lost connection: none of it may end training
            self.works = False
            self.failed(error)
