"""Write a run's student to a folder that others can load: sentence-transformers, lmteach, onnxruntime.

The folder holds the encoder, the labels with their vectors, thresholds, and a model card. Thresholds are fitted on
the run's dev documents and what its teacher said of them, or on gold of your own (--dev).

examples:
  lmteach export runs/lmtx_quickstart --to tagger
  lmteach export runs/lmtx_quickstart --to tagger --onnx --dev labelled.jsonl --precision 0.9
  lmteach export runs/lmtx_quickstart --to tagger --push-to-hub me/python-tagger
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--onnx", action="store_true", help="add a graph for onnxruntime, checked on real texts"
    )
    parser.add_argument(
        "--int8", action="store_true", help="quantise the graph; refused where it changes too much"
    )
    parser.add_argument("--dev", type=Path, metavar="FILE", help="documents with gold labels, for thresholds")
    parser.add_argument(
        "--precision", type=float, default=0.8, metavar="P", help="aim of the threshold `precision` (0.8)"
    )
    parser.add_argument(
        "--recall", type=float, default=0.8, metavar="R", help="aim of the threshold `recall` (0.8)"
    )
    parser.add_argument("--force", action="store_true", help="replace an exported student that lies there")
    parser.add_argument("--push-to-hub", metavar="NAME", help="upload the folder to a model hub as NAME")


def run(args: argparse.Namespace) -> int:
    """Export, and push where asked."""
    from lmteach.serving.export import ExportOptions, export_run
    from lmteach.serving.thresholds import Targets
    from lmteach.tracking.console import Console

    options = ExportOptions(
        onnx=args.onnx or args.int8,
        int8=args.int8,
        dev=args.dev,
        targets=Targets(args.precision, args.recall),
        force=args.force,
    )
    about = export_run(args.run, args.to, options, Console())
    print(f"{args.to}: a {about.kind}")
    if about.calibration is None:
        print("no thresholds: there was nothing to fit them on (--dev FILE gives gold)")
    else:
        print(f"thresholds, fitted on {about.calibration.fitted_on}:")
        for name, score in about.calibration.thresholds.items():
            if score is None:
                print(
                    f"  {name:<10} not reached ({about.calibration.targets[name]:g})" if name != "f1" else ""
                )
                continue
            said = about.calibration.reached[name]
            figures = ", ".join(f"{metric} {value:.2f}" for metric, value in said.items())
            print(f"  {name:<10} score {score:.3f}: {figures}")
    if args.push_to_hub:
        from lmteach.serving.hub import push

        print(push(args.to, args.push_to_hub))
    return 0
