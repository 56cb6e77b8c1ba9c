"""What a teacher is. Anything that can judge how well a candidate fits a document may teach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from lmteach.errors import TeacherError
from lmteach.types import Document, Judgement, Scope, Verdict

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus


@runtime_checkable
class Teacher(Protocol):
    """Judges batches of documents against their candidates.

    Built as `MyTeacher(config, resources)`, where `config` is an instance of the class's own `Config`
    dataclass and `resources` is a `TeacherResources`. Importing the module and building `Config` must be
    cheap: load torch and weights in `__init__` or later, so that `lmteach show` and `plan` stay fast.
    """

    @property
    def identity(self) -> str:
        """All that decides a verdict (weights, prompt with its version, parameters), as one short text.

        Part of the store's key: change it whenever verdicts may change, and never otherwise.
        """

    @property
    def scope(self) -> Scope:
        """What a verdict depends on; see `lmteach.types.Scope`."""

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Answer every judgement, in order. Must not depend on how judgements are grouped into batches.

        Raises:
            TeacherError: the teacher cannot answer at all (never for one unreadable answer: that is a None).
        """

    def close(self) -> None:
        """Free weights and connections. Further `judge` calls may fail or load again."""


@dataclass(frozen=True)
class TeacherResources:
    """What a teacher may draw on beside its own configuration.

    Attributes:
        build: builds a member teacher from its recipe section (`{"name": ..., ...}`), wrapped so that what it
            says is kept in the store; `ensemble` and `cascade` build their members by it.
        corpus: the run's corpus, for teachers that read gold or titles; None outside a run.
        seed: the run's seed.
        folder: where relative paths of the recipe start.
    """

    build: Callable[[Mapping[str, Any]], Teacher]
    corpus: Corpus | None = None
    seed: int = 0
    folder: Path = field(default_factory=Path.cwd)


class PartialVerdictsError(TeacherError):
    """A batch broke off in the middle; what was answered by then is not lost.

    Args:
        what: what broke it off.
        verdicts: as long as the batch; None where no answer came.
    """

    def __init__(
        self,
        what: str,
        verdicts: Sequence[Verdict | None],
        *,
        where: str | None = None,
        mend: str | None = None,
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.verdicts = list(verdicts)


@runtime_checkable
class PairTeacher(Protocol):
    """Teaches without candidates: from each document it makes a text that means the same.

    RTS cuts out a random segment, MACLR takes the title away: the rest of the document is the anchor, what
    was taken is the positive, and the student learns to bring the two together. Built like a `Teacher`.
    """

    Config: ClassVar[type[Any]]

    @property
    def identity(self) -> str:
        """All that decides the pairs, as one short text."""

    def pairs(self, documents: Sequence[Document], seed: int) -> list[tuple[str, str] | None]:
        """Return (anchor, positive) of each document, in order; None for one that gives none.

        A document's pair depends on the document and `seed` alone, not on the others; another `seed` (that
        of another epoch) may give another pair.
        """

    def close(self) -> None:
        """Free what it holds."""
