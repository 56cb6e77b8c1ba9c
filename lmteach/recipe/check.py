"""What no single key can tell: contradictions between keys, all reported at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lmteach import registry
from lmteach.errors import LmteachError, RecipeError, nearest_name
from lmteach.recipe.check_classifier import classifier_problems
from lmteach.recipe.check_supervision import supervision_problems
from lmteach.recipe.loss import build_loss
from lmteach.recipe.schema import Recipe

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "fsdp")
GREATEST_SEED = 4_000_000_000  # 32 bits, and room for a cycle's number to be added


def check_recipe(recipe: Recipe) -> None:
    """Check a recipe's keys against each other and against what values make sense.

    Raises:
        RecipeError: with every contradiction found.
    """
    problems = list(_problems(recipe))
    if problems:
        listed = problems[0] if len(problems) == 1 else "\n" + "\n".join(f"  - {p}" for p in problems)
        raise RecipeError(listed, where=recipe.name or None)


def check_label_count(recipe: Recipe, n_labels: int) -> None:
    """Check that the label set is large enough for the shortlists.

    Raises:
        RecipeError: fewer labels than one of the shortlist keys asks for, `n_retrieved` apart, which is clipped.
    """
    if n_labels < 2:
        raise RecipeError(
            f"The label set has {n_labels} label; there is nothing to choose between.", where="corpus"
        )
    if recipe.student.kind == "classifier":
        return  # it scores every class; no shortlist is made
    for key, value in _shortlist_sizes(recipe).items():
        if value > n_labels and key != "search.n_retrieved":
            raise RecipeError(
                f"The label set has {n_labels} labels, fewer than {key} = {value}.",
                mend=f"Set {key}={n_labels} or less.",
            )


def _shortlist_sizes(recipe: Recipe) -> dict[str, int]:
    return {
        "search.n_judged": recipe.search.n_judged,
        "dev.n_judged": recipe.dev.n_judged,
        "search.n_kept": recipe.search.n_kept,
        "search.n_retrieved": recipe.search.n_retrieved,
    }


def _problems(recipe: Recipe) -> Iterator[str]:
    if not recipe.corpus.name and not recipe.corpus.path:
        yield "No corpus: set corpus.name (a known set, `lmteach data` lists them) or corpus.path."
    sizes = _shortlist_sizes(recipe)
    for smaller, larger in [
        ("search.n_judged", "search.n_kept"),
        ("dev.n_judged", "search.n_kept"),
        ("search.n_kept", "search.n_retrieved"),
    ]:
        if sizes[smaller] > sizes[larger]:
            yield f"{smaller} = {sizes[smaller]} is more than {larger} = {sizes[larger]}."
    positive = {
        **sizes,
        "training.batch_size": recipe.training.batch_size,
        "training.epochs": recipe.training.epochs,
        "warmup.epochs": recipe.warmup.epochs,
        "training.lr": recipe.training.lr,
        "corpus.n_dev": recipe.corpus.n_dev + (recipe.student.kind == "classifier"),  # which may do without
        "evaluation.resamples": recipe.evaluation.resamples,
        "trainer.devices": recipe.trainer.devices,
        "trainer.num_nodes": recipe.trainer.num_nodes,
        "trainer.timeout": recipe.trainer.timeout,
        "training.accumulate": recipe.training.accumulate,
    }
    for key, value in positive.items():
        if not 0 < value < math.inf:  # so written, NaN is refused too
            yield f"{key} = {value} must be above 0."
    yield from _strategy_problems(recipe)
    yield from _range_problems(recipe)
    if recipe.training.batch_size == 1 and recipe.student.kind == "tagger":
        yield "training.batch_size = 1 leaves no other document's label as a negative; use 2 or more."
    if not recipe.evaluation.ks or min(recipe.evaluation.ks) < 1:
        yield f"evaluation.ks = {recipe.evaluation.ks} must hold at least one depth, each 1 or more."
    yield from _calibration_problems(recipe)
    yield from classifier_problems(recipe)
    yield from supervision_problems(recipe)
    yield from _part_problems(recipe)
    for key, value in vars(recipe.budget).items():
        if value is not None and not value > 0:
            yield f"budget.{key} = {value} must be above 0, or null for no cap."


def _strategy_problems(recipe: Recipe) -> Iterator[str]:
    strategy = recipe.trainer.strategy
    if strategy not in STRATEGIES:
        nearest = nearest_name(strategy, STRATEGIES)
        meant = f" Did you mean '{nearest}'?" if nearest else ""
        yield f"trainer.strategy = {strategy} is none of {', '.join(STRATEGIES)}.{meant}"
    elif strategy == "fsdp" and recipe.student.kind == "classifier" and recipe.student.tuning == "frozen":
        yield (
            "trainer.strategy = fsdp has nothing to divide under student.tuning = frozen, which trains a head; "
            "set trainer.strategy=ddp."
        )


def _part_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what loss and head say of their keys: both are cheap to build."""
    parts: list[Callable[[], object]] = [lambda: build_loss(recipe)]
    if recipe.student.kind == "classifier" and recipe.student.tuning == "frozen":
        parts.append(lambda: registry.build("head", recipe.student.head))
    for build in parts:
        try:
            build()
        except LmteachError as error:
            yield str(error)


def _range_problems(recipe: Recipe) -> Iterator[str]:
    if not 0 <= recipe.seed <= GREATEST_SEED:
        yield f"seed = {recipe.seed} must lie between 0 and {GREATEST_SEED:,}."
    for key in ("eps", "weight_decay", "warmup_steps"):
        value = getattr(recipe.training, key)
        if not 0 <= value < math.inf:
            yield f"training.{key} = {value} must be 0 or more."
    optional = {
        "search.batch_tokens": recipe.search.batch_tokens,
        "training.gradient_clip": recipe.training.gradient_clip,
        "warmup.lr": recipe.warmup.lr,
        "training.cached_batch": recipe.training.cached_batch,
    }
    for key, value in optional.items():
        if value is not None and not 0 < value < math.inf:
            yield f"{key} = {value} must be above 0, or null."
    if not math.isfinite(recipe.annotation.threshold):
        yield f"annotation.threshold = {recipe.annotation.threshold} must be a finite number."
    if not 0 < recipe.annotation.keep <= 1:
        yield f"annotation.keep = {recipe.annotation.keep} is a share: above 0, at most 1."
    if not 0 <= recipe.annotation.quantile < 1:
        yield f"annotation.quantile = {recipe.annotation.quantile} is a share: 0 or more, below 1."


def _calibration_problems(recipe: Recipe) -> Iterator[str]:
    settings = recipe.calibration
    if settings.documents < 0:
        yield f"calibration.documents = {settings.documents} must be 0 (no calibration) or more."
    if settings.precision is not None and not 0 < settings.precision < 1:
        yield f"calibration.precision = {settings.precision} must lie between 0 and 1, or be null."
    if settings.documents and recipe.annotation.rule != "threshold":
        yield (
            f"calibration.documents = {settings.documents} changes nothing under annotation.rule = "
            f"{recipe.annotation.rule}, which compares scores with each other; set annotation.rule=threshold."
        )
    if settings.teacher and not settings.documents:
        yield "calibration.teacher is named, but calibration.documents = 0 asks it nothing."
