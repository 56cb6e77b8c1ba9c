"""The model card: what a student is, who taught it, on what, how good it is, what it cost, where it ends.

Everything in it is read from the run's own files; what is not known is said to be so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lmteach import __version__
from lmteach.corpus.catalog import CATALOG
from lmteach.serving.card_tables import cost_rows, metric_table, provenance_rows, table
from lmteach.serving.card_teaching import has_teacher, teaching_rows
from lmteach.tracking.run_folder import read_json

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe
    from lmteach.serving.about import About
    from lmteach.tracking.run_folder import RunFolder

CARD = "README.md"


def write_card(folder: Path, run: RunFolder, recipe: Recipe, about: About) -> None:
    """Write README.md into an exported folder."""
    manifest = read_json(run.manifest) if run.manifest.is_file() else {}
    finals = [event for event in run.events() if event.get("event") == "final"]
    final = finals[-1] if finals else {}
    parts = [
        _front_matter(recipe, about),
        f"# {about.name}",
        _opening(about, _n_labels(folder)),
        *_usage(about),
        "## How it was taught",
        table(["", ""], teaching_rows(recipe, manifest)),
        "### Where its labels come from",
        table(["", ""], provenance_rows(final, taught=has_teacher(recipe))),
        "## Data",
        table(["", ""], _data(recipe, final, folder)),
        "## How good it is",
        *_quality(final),
        *_thresholds(about),
        "## What it cost",
        table(["", ""], cost_rows(final, manifest)),
        "## Limits",
        *_limits(recipe, about, final),
    ]
    (folder / CARD).write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _front_matter(recipe: Recipe, about: About) -> str:
    tagger = about.kind == "tagger"
    matter: dict[str, Any] = {
        "library_name": "sentence-transformers" if tagger else "transformers",
        "tags": ["lmteach", about.kind],
    }
    matter["pipeline_tag"] = "feature-extraction" if tagger else "text-classification"
    frozen = not tagger and recipe.student.tuning == "frozen"
    if frozen:
        matter["library_name"] = "lmteach"
    start = "" if frozen else str(recipe.student.encoder.get("model", ""))
    if start and ":" not in start and not Path(start).exists():
        matter["base_model"] = start
    return f"---\n{yaml.safe_dump(matter, sort_keys=False)}---"


def _opening(about: About, n_labels: int) -> str:
    if about.kind == "tagger":
        return (
            f"A tagger: it gives a text the nearest of {n_labels:,} labels, by the cosine of their vectors. "
            f"Texts are cut after {about.search_length} tokens. Written by lmteach {__version__}."
        )
    return f"A classifier of texts into {n_labels:,} classes. Written by lmteach {__version__}."


def _n_labels(folder: Path) -> int:
    for name in ("labels.jsonl",):
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="\n") as file:
                return sum(1 for _ in file)
    card = folder / "lmteach.json"
    return len(read_json(card).get("labels", ())) if card.is_file() else 0


def _usage(about: About) -> Iterator[str]:
    yield "## Use"
    yield (
        "```python\nfrom lmteach import load_student\n\n"
        'student = load_student("THIS_FOLDER")\n'
        'student.predict(["a text"], top_k=5)                    # labels, scores, probabilities\n'
        'student.predict(["a text"], top_k=20, threshold="f1")   # as many as the threshold lets through\n```'
    )
    if about.kind == "tagger":
        yield (
            "Or by its parts: `sentence_transformers.SentenceTransformer(folder).encode(texts)` gives the texts' "
            "vectors, `label_vectors.npy` holds those of the labels, `labels.jsonl` their names in the same order."
        )
    if about.onnx is not None:
        kind = "int8" if about.onnx.int8 else "fp32"
        yield (
            f"`{about.onnx.path}` is the same student for onnxruntime, without torch ({kind}). On "
            f"{about.onnx.n_texts} texts its vectors differ from the student's by "
            f"{about.onnx.greatest_difference:.1e} at most (least cosine {about.onnx.least_cosine:.5f}), and "
            f"{about.onnx.same_first_label:.1%} of the texts keep their first label."
        )
    if about.kind == "classifier" and about.search_length:
        yield "`transformers.pipeline('text-classification', THIS_FOLDER)` loads it too."
    yield "`lmteach serve THIS_FOLDER` answers over HTTP, with a page to try it."


def _data(recipe: Recipe, final: Mapping[str, Any], folder: Path) -> list[list[str]]:
    corpus = recipe.corpus
    known = CATALOG.get(corpus.name)
    n_train = "all" if corpus.n_train is None else f"{corpus.n_train:,}"
    rows = [
        ["corpus", f"{corpus.name or Path(corpus.path).name}" + (f": {known.about}" if known else "")],
        ["a text is", f"`{corpus.text}`"],
        ["a label is", f"`{corpus.label_text}`, {_n_labels(folder):,} of them"],
        ["documents", f"{n_train} to train on, {corpus.n_dev:,} kept apart as dev"],
        [
            "licence of the data",
            known.licence if known else "not known to lmteach: ask whoever made the corpus",
        ],
    ]
    if final.get("test_documents"):
        rows.append(
            ["held out", f"{final['test_documents']:,} documents with gold, read after training only"]
        )
    return rows


def _quality(final: Mapping[str, Any]) -> Iterator[str]:
    if "student" not in final:
        yield "Not measured: the run had no held-out documents with gold labels."
        return
    yield metric_table(final)
    gain = (final.get("gain") or {}).get("p@1")
    if gain:
        yield (
            f"P@1 against the untuned student: {gain['difference']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] "
            "(paired bootstrap over documents)."
        )


def _thresholds(about: About) -> Iterator[str]:
    calibration = about.calibration
    yield "### Probabilities and thresholds"
    if calibration is None and about.kind == "classifier":
        yield "A class's probability is what the model says; it was not calibrated, and no thresholds were fitted."
        return
    if calibration is None:
        yield "None: there was nothing to fit them on. `lmteach export --dev FILE` fits them to labelled documents."
        return
    yield (
        f"Fitted on {calibration.fitted_on}: {calibration.n:,} (text, label) pairs, {calibration.n_right:,} of them "
        f"right. p = sigmoid({calibration.scale:.4g} x score + {calibration.bias:.4g}). "
        "The figures below are of the same pairs, hence a little hopeful, and hold for texts like those."
    )
    rows = []
    for name, score in calibration.thresholds.items():
        aim = calibration.targets.get(name)
        label = f"`{name}`" + ("" if aim is None else f" (aim {aim:g})")
        if score is None:
            rows.append([label, "not reached", "", "", ""])
            continue
        reached = calibration.reached[name]
        figures = [f"{reached[metric]:.2f}" for metric in ("precision", "recall", "f1")]
        rows.append([label, f"{score:.4f}", *figures])
    yield table(["threshold", "least score", "precision", "recall", "F1"], rows)


def _limits(recipe: Recipe, about: About, final: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    if has_teacher(recipe) and recipe.teacher.get("name") != "oracle":
        lines.append(
            "It learned from a model's verdicts, not from people's: it repeats that model's mistakes."
        )
    if about.kind == "tagger":
        lines.append(
            "It knows only the labels it was given; `lmteach labels add` gives it more, without retraining."
        )
        lines.append(f"What stands after the first {about.search_length} tokens of a text is not read.")
    if about.kind == "tagger" and recipe.annotation.rule == "top":
        lines.append("It was taught one label a document, so scores after the first label are less sure.")
    if "student" not in final:
        lines.append("Nobody has measured it on held-out gold.")
    if about.kind == "classifier" and about.search_length:
        lines.append(f"What stands after the first {about.search_length} tokens of a text is not read.")
    calibration = about.calibration
    if calibration is not None and "verdicts" in calibration.fitted_on:
        lines.append(
            "Its probabilities say how likely its teacher would agree, which is not how likely it is true."
        )
    if calibration is not None and calibration.n < 200:
        lines.append(f"Its thresholds rest on {calibration.n} pairs only.")
    yield "\n".join(f"- {line}" for line in lines)
