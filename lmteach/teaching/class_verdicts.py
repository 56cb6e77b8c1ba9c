"""From a teacher's scores of all classes to class probabilities: its own leaning taken off, paraphrases averaged.

Shape legend: n documents, C classes, f texts without content, m prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmteach.tracking.arrays import MEND_VERDICTS, read_arrays, write_arrays

Floats = npt.NDArray[np.float64]
TINY = 1e-12


@dataclass(frozen=True)
class ClassVerdicts:
    """What a teacher said of n documents.

    Attributes:
        log_odds_nC: class log-probabilities that sum to 1, or, where several classes may apply, the log-odds of
            each. NaN: unread, or never asked. With one class a document a row is read whole or not at all.
        judged_n: whether the document was asked about; False where the budget had ended.
        agreement_n: share of the prompts whose best class is the one all of them together choose; 1 for one
            prompt, NaN where unread.
        prior_mC: each prompt's leaning that was taken off; uniform where none was.
        stopped_by: the cap that ended labelling, or empty.
    """

    log_odds_nC: Floats
    judged_n: npt.NDArray[np.bool_]
    agreement_n: Floats
    prior_mC: Floats
    stopped_by: str = ""

    @property
    def n_prompts(self) -> int:
        """How many wordings the teacher was asked in."""
        return len(self.prior_mC)

    @property
    def read_n(self) -> npt.NDArray[np.bool_]:
        """Whether a document has a verdict that trains: all classes read."""
        return self.judged_n & ~np.isnan(self.log_odds_nC).any(axis=1)

    def save(self, path: Path) -> None:
        """Write an npz file whole or not at all."""
        write_arrays(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> ClassVerdicts:
        """Read what `save` wrote.

        Raises:
            RunError: the file is damaged or something else.
        """
        names = ("log_odds_nC", "judged_n", "agreement_n", "prior_mC")
        with read_arrays(path, "These verdicts", MEND_VERDICTS) as file:
            arrays: Any = {name: file[name] for name in names}
            return cls(**arrays, stopped_by=str(file["stopped_by"]))


def class_log_probs(scores_nC: npt.ArrayLike) -> Floats:
    """Return scores as log-probabilities over the classes; a row with an unread score is unread as a whole.

    Class log-probabilities stay as they are; log-odds become a softmax.
    """
    scores = np.asarray(scores_nC, dtype=np.float64)
    shifted = scores - scores.max(axis=1, keepdims=True, initial=-np.inf)  # a NaN makes the row NaN
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def mean_prior(log_probs_fC: Floats) -> Floats:
    """Return the mean probability of each class over texts, uniform where none was read.

    Over texts without content it is the teacher's leaning of Zhao et al. (2021, section 5), over the documents
    themselves that of Zhou et al. (2023, "Batch Calibration").
    """
    read = ~np.isnan(log_probs_fC).any(axis=1)
    n_classes = log_probs_fC.shape[1]
    if not read.any():
        return np.full(n_classes, 1 / n_classes)
    return np.asarray(np.exp(log_probs_fC[read]).mean(axis=0))


def without_prior(log_probs_nC: Floats, prior_C: Floats) -> Floats:
    """Return log-probabilities with a leaning divided off: p / prior, to sum to 1 again (Zhao et al. 2021)."""
    return class_log_probs(log_probs_nC - np.log(np.maximum(prior_C, TINY)))


def pool(log_probs_mnC: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the mean probabilities of several prompts as logs, and the share of prompts that agree with them.

    A prompt whose answer could not be read has no say in that document; where none was read it is NaN.
    """
    stacked = np.stack(log_probs_mnC)
    read_mn = np.asarray(~np.isnan(stacked).any(axis=2), dtype=np.bool_)
    n_read_n = read_mn.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total_nC = np.where(read_mn[:, :, None], np.exp(stacked), 0.0).sum(axis=0)
        pooled_nC: Floats = np.log(np.maximum(total_nC / n_read_n[:, None], TINY))
        pooled_nC[n_read_n == 0] = np.nan
        best_mn = np.where(read_mn, np.nan_to_num(stacked, nan=-np.inf).argmax(axis=2), -1)
        chosen_n = np.nan_to_num(pooled_nC, nan=-np.inf).argmax(axis=1)
        agreement_n = (read_mn & (best_mn == chosen_n)).sum(axis=0) / n_read_n
    return pooled_nC, agreement_n


def pool_log_odds(log_odds_mnC: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the mean log-odds of several prompts where several classes may apply, and how far they agree.

    Agreement is the share of (prompt, class) answers on the same side of 0 as the mean.
    """
    stacked = np.stack(log_odds_mnC)
    read: npt.NDArray[np.bool_] = ~np.isnan(stacked)
    n_read_nC = read.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled_nC = np.where(read, stacked, 0.0).sum(axis=0) / n_read_nC  # 0 / 0 where nobody was read
        same: npt.NDArray[np.bool_] = read & (np.greater(stacked, 0) == np.greater(pooled_nC, 0))
        agreement_n = same.sum(axis=(0, 2)) / read.sum(axis=(0, 2))
    return pooled_nC, agreement_n
