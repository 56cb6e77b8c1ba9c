"""Before the first cycle: the student trains on in-domain pairs that need neither labels nor a language model.

RTS (a random segment of a document and the rest) and MACLR (a title and its body) are such pairs. What comes
out replaces the pretrained checkpoint: it makes the first shortlist, and every cycle starts from it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lmteach import registry
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.datamodule import PseudoLabels
from lmteach.curriculum.training import train_student
from lmteach.errors import RecipeError, RunError
from lmteach.teaching.protocol import PairTeacher
from lmteach.tracking.run_folder import RunFolder, write_whole


def warm_up(context: RunContext, run: RunFolder) -> Path | None:
    """Return the folder of the warmed-up student, trained now if it is not there; None where the recipe has none.

    Raises:
        RecipeError: the teacher named makes no pairs.
        RunError: no document gave a pair.
    """
    settings = context.recipe.warmup
    if not settings.teacher:
        return None
    folder = run.path / "warmup"
    if context.ranks.share((folder / "student").is_dir()):
        return folder / "student"
    context.console.say("warm-up")
    training = dataclasses.replace(
        context.recipe.training,
        epochs=settings.epochs,
        lr=context.recipe.training.lr if settings.lr is None else settings.lr,
    )
    recipe = dataclasses.replace(context.recipe, training=training)
    encoder = context.new_encoder()
    loggers = context.trackers.training_loggers("warm-up")
    train_student(
        encoder,
        lambda: _pairs(context),
        recipe,
        context.console,
        context.recipe.seed,
        loggers,
        context.ranks,
    )
    encoder.to("cpu")  # type: ignore[attr-defined]
    folder.mkdir(exist_ok=True)
    context.ranks.first_alone(lambda: write_whole(folder / "student", encoder.save))
    return folder / "student"


def _pairs(context: RunContext) -> PseudoLabels:
    """Return (anchor, positive) pairs as pseudo-labels; a text that is many documents' positive is one label."""
    name = context.recipe.warmup.teacher["name"]
    teacher = registry.build("teacher", context.recipe.warmup.teacher, context.teacher_resources())
    if not isinstance(teacher, PairTeacher):
        raise RecipeError(
            f"The teacher '{name}' makes no pairs.",
            where="warmup.teacher",
            mend="`segment` and `title` do; a teacher that judges candidates belongs under `teacher`.",
        )
    try:
        made = teacher.pairs(context.corpus.train, context.recipe.seed)
    finally:
        teacher.close()
    pairs = [pair for pair in made if pair is not None]
    if not pairs:
        raise RunError(
            f"None of {len(made)} documents gave a pair to warm up on.",
            where="warmup.teacher",
            mend="They may be too short (`segment`) or have no title (`title`).",
        )
    positives = {positive: i for i, positive in enumerate(dict.fromkeys(positive for _, positive in pairs))}
    return PseudoLabels(
        texts=[anchor for anchor, _ in pairs],
        yes=[np.array([positives[positive]], dtype=np.int64) for _, positive in pairs],
        label_texts=list(positives),
    )
