"""Labels added after training: how well a tagger finds them before, after `labels add`, and after `fit --from`.

A share of a corpus's labels is held out: taken from the label set and from every document's gold, so that the
student is taught without them. Then they are added by name, and at last the student is refreshed; the teacher is
gold (`oracle`), so the figures show what the method can do at best. Measured on test documents that bear a held-out
label, over the whole label set, with only held-out labels counted as right; and, for what is forgotten, on the
labels known from the start. `python benchmarks/new_labels.py DATA/eurlex57k` takes some 20 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmteach import load_student
from lmteach.cli.main import main as lmteach

KS = (5, 10)


@dataclass(frozen=True)
class Case:
    """Two corpora in a folder: `known` without the held-out labels, `full` with them; and the test documents."""

    folder: Path
    held_out: list[str]
    texts: list[str]
    gold: list[set[str]]


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        case = _split(args, folder)
        run = folder / "run"
        settings = [f"run.store={folder / 'store.sqlite'}", "corpus.name=", *args.overrides]
        common = ["teacher.name=oracle", "annotation.rule=threshold", "dev.n_judged=2", *settings]
        sizes = [f"corpus.n_train={args.train}", "corpus.n_dev=100", f"corpus.n_test={min(200, args.test)}"]
        known = [f"corpus.path={folder / 'known'}", f"run.folder={run}", f"curriculum.cycles={args.cycles}"]
        _call("fit", "--recipe", args.recipe, *common, *sizes, *known)
        _report("before: not in the label set", case, run)
        new = folder / "new.txt"
        new.write_text("".join(f"{name}\n" for name in case.held_out), encoding="utf-8")
        _call("labels", "add", run, new)
        _report("after `labels add`", case, run)
        refreshed = [f"run.folder={run}-refreshed", f"corpus.path={folder / 'full'}"]
        _call("fit", "--from", run, *refreshed)
        _report("after `fit --from`", case, Path(f"{run}-refreshed"))
        events = (Path(f"{run}-refreshed") / "metrics.jsonl").read_text().splitlines()
        cycle = next(e for e in map(json.loads, events) if e["event"] == "cycle")
        print(f"the refresh judged {cycle['documents']:,} documents and took {cycle['seconds']:.0f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a folder with train.jsonl.gz, test.jsonl.gz and labels.txt")
    parser.add_argument("--recipe", default="lmtx_eurlex57k.yaml")
    parser.add_argument("--share", type=float, default=0.1, help="of the labels, held out")
    parser.add_argument("--train", type=int, default=1500, help="training documents")
    parser.add_argument("--test", type=int, default=1000, help="test documents")
    parser.add_argument("--cycles", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work here and leave the runs, for a look")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args()


def _split(args: argparse.Namespace, folder: Path) -> Case:
    rng = random.Random(1)
    names = [line for line in (args.data / "labels.txt").read_text(encoding="utf-8").split("\n") if line]
    held_out = set(rng.sample(range(len(names)), round(args.share * len(names))))
    kept = [i for i in range(len(names)) if i not in held_out]
    number = {old: new for new, old in enumerate(kept)}
    parts = {"train": _sample(args.data, "train", args.train + 100, rng)}
    parts["test"] = _sample(args.data, "test", args.test, rng)
    for name in ("known", "full"):
        (folder / name).mkdir(parents=True)
        labels = names if name == "full" else [names[i] for i in kept]
        (folder / name / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        for split, documents in parts.items():
            with (folder / name / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for document in documents:
                    gold = document["labels"]
                    gold = gold if name == "full" else [number[i] for i in gold if i in number]
                    file.write(json.dumps({**document, "labels": gold}, ensure_ascii=False) + "\n")
    texts = [f"{d['title']}\n{d['text']}" for d in parts["test"]]
    gold_names = [{names[i] for i in d["labels"]} for d in parts["test"]]
    return Case(folder, [names[i] for i in sorted(held_out)], texts, gold_names)


def _sample(data: Path, split: str, n: int, rng: random.Random) -> list[dict[str, Any]]:
    with gzip.open(data / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = file.readlines()
    return [json.loads(line) for line in rng.sample(lines, n)]


def _report(when: str, case: Case, run: Path) -> None:
    tags = load_student(run).predict(case.texts, max(KS))
    ranked = [found.labels for found in tags]
    held_out = set(case.held_out)
    new = [gold & held_out for gold in case.gold]
    old = [gold - held_out for gold in case.gold]
    figures = [
        f"{what}: {_metrics(ranked, gold)}" for what, gold in (("new labels", new), ("known labels", old))
    ]
    print(f"== {when}: " + "; ".join(figures), flush=True)


def _metrics(ranked: list[tuple[str, ...]], gold: list[set[str]]) -> str:
    rows = [(labels, wanted) for labels, wanted in zip(ranked, gold, strict=True) if wanted]
    precision = np.array([sum(label in wanted for label in labels[:5]) / 5 for labels, wanted in rows])
    recall = np.array(
        [sum(label in wanted for label in labels[:10]) / len(wanted) for labels, wanted in rows]
    )
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, len(rows), (1000, len(rows)))
    said = []
    for name, values in (("P@5", precision), ("R@10", recall)):
        low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
        said.append(f"{name} {values.mean():.3f} [{low:.3f}, {high:.3f}]")
    return f"{' '.join(said)} ({len(rows):,} documents)"


def _call(*arguments: object) -> None:
    status = lmteach([str(argument) for argument in arguments])
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
