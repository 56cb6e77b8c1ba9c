"""The table that a classifier's run prints at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmteach.tracking.console import Console
from lmteach.tracking.figures import epochs

SHOWN = ("accuracy", "macro_f1", "micro_f1", "p@1", "p@3", "ndcg@5", "brier", "ece")


def print_classifier(console: Console, final: Mapping[str, Any]) -> None:
    """Print what a classifier scored on held-out gold, with intervals where a metric has one.

    Args:
        final: the final line of metrics.jsonl, or of an evaluation.
    """
    if "by_name" in final:
        _print_scores(console, final)
    for number, stage in enumerate(final.get("stages", ())):
        chosen = ""
        if "best_epoch" in stage:
            chosen = f", best epoch {stage['best_epoch'] + 1:.0f} by validation loss {stage['validation_loss']:.4f}"
        memory = f", peak memory {stage['peak_gib']:.1f} GiB" if "peak_gib" in stage else ""
        energy = f", {stage['joules']:,.0f} J" if "joules" in stage else ""
        print(
            f"stage {number}: {stage['documents']:,.0f} texts, {stage['parameters']:,.0f} trained parameters, "
            f"{epochs(stage['epochs'])} in {stage['train_seconds']:.1f} s{energy}{memory}{chosen}"
        )
    for part, said in final.get("teacher", {}).items():
        right = f", right on {said['accuracy']:.1%}" if "accuracy" in said else ""
        left_out = f", {said['dropped']:,} left out" if said.get("dropped") else ""
        print(
            f"teacher on {said['documents']:,} {part} documents: {said['unread']:,} unread, "
            f"{said['unjudged']:,} unjudged{left_out}{right}"
        )
    if "curve" in final:
        print("learning curve (accuracy on labels kept apart, by labels):")
    for point in final.get("curve", ()):
        print(f"  {point['labelled']:>8,}  {point['validation_accuracy']:.4f}")


def _print_scores(console: Console, final: Mapping[str, Any]) -> None:
    shown = [metric for metric in SHOWN if metric in final["student"]]
    rows = []
    for name, means in final["by_name"].items():
        bounds = final["intervals"].get(name, {})
        cells = [
            f"{means[m]:.4f}" + ("" if m not in bounds else " [{:.4f}, {:.4f}]".format(*bounds[m]))
            for m in shown
            if m in means
        ]
        rows.append([name, *cells, *[""] * (len(shown) - len(cells))])
    title = f"{final['test_documents']:,} held-out documents, 95% bootstrap intervals"
    console.table(title, ["student", *shown], rows)
