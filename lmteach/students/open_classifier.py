"""A classifier made by a recipe, or opened again from the folder that its `save` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmteach.machine import Precision, choose_precision, device_name
from lmteach.recipe.schema import Recipe
from lmteach.students.class_student import ClassCard, Classifier, ClassifierStudent
from lmteach.weights import resolve


def new_student(recipe: Recipe, labels: Sequence[str]) -> ClassifierStudent:
    """Return a recipe's untrained classifier over a label set; the head's weights are drawn by torch's seed."""
    section = recipe.student
    if section.tuning == "frozen":
        from lmteach.students.frozen import FrozenStudent

        return FrozenStudent.of(recipe, labels)
    card = ClassCard(
        tuple(labels), section.multilabel, section.tuning, int(section.encoder["document_length"])
    )
    return _tuned(recipe, resolve(str(section.encoder["model"])), card, train=True)


def reopen_student(folder: Path, recipe: Recipe, *, train: bool = False) -> ClassifierStudent:
    """Return a saved classifier.

    Args:
        train: to train it further: adapters are added where the recipe asks for them.

    Raises:
        RunError: the folder holds none, or a damaged one.
    """
    card = ClassCard.load(folder)
    if card.tuning == "frozen":
        from lmteach.students.frozen import FrozenStudent

        device = device_name(recipe.trainer.accelerator)
        return FrozenStudent.open(folder, card, store=Path(recipe.run.features), device=device)
    return _tuned(recipe, folder, card, train=train)


def open_classifier(folder: Path, *, device: str = "cpu", precision: Precision = "auto") -> Classifier:
    """Return the classifier in a student's folder, ready to classify; nothing but the folder is needed.

    Raises:
        RunError: the folder holds none, or a damaged one.
    """
    card = ClassCard.load(folder)
    student: ClassifierStudent
    if card.tuning == "frozen":
        from lmteach.students.frozen import FrozenStudent

        student = FrozenStudent.open(folder, card, store=None, device=device)
    else:
        from lmteach.students.tuned import TunedStudent

        student = TunedStudent(folder, card)
    chosen = choose_precision(precision, device)
    return Classifier(student, card, device=device, precision=chosen)


def _tuned(recipe: Recipe, folder: Path, card: ClassCard, *, train: bool) -> ClassifierStudent:
    from lmteach.students.tuned import TunedStudent

    section = recipe.student
    lora = section.lora if train and section.tuning == "lora" else None
    return TunedStudent(folder, card, lora=lora, dropout=section.encoder.get("dropout"))
