"""The command `lmteach`: a table of verbs; a verb's file is imported only when it runs."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from lmteach import __version__
from lmteach.errors import LmteachError, nearest_name

VERBS = {
    "fit": "teach a student by a recipe",
    "annotate": "run the teacher alone, into the store",
    "evaluate": "measure a run's student on held-out gold",
    "predict": "tag documents with a run's student",
    "export": "write a run's student to a folder that others load, with a model card",
    "serve": "answer over HTTP with a student, with a page to try it",
    "labels": "list, add and remove a student's labels, without retraining",
    "plan": "say what a recipe would cost, before anything is spent",
    "audit": "look at a teacher's verdicts: agreement, bias, shortlist depth",
    "choose-teacher": "rank candidate teachers on a few documents, before the big spend",
    "sweep": "run a grid or random search over recipe keys, on one store",
    "report": "write runs up as one HTML page, or as text",
    "compare": "say how sure it is that one run is better than another",
    "sweep-layers": "probe every layer of a recipe's frozen backbones with a linear head",
    "show": "print a resolved recipe, with the origin of each value",
    "recipes": "list the shipped recipes",
    "plugins": "list plugins (teachers, encoders, heads, losses, ...), write or check one",
    "data": "list known data sets, and put their files where recipes find them",
    "store": "statistics, export, import and pruning of kept verdicts",
}

EPILOG = """\
examples:
  lmteach fit --recipe lmtx_quickstart.yaml
  lmteach fit --recipe lmtx_debtags.yaml corpus.n_train=500 teacher.name=oracle
  lmteach predict runs/lmtx_quickstart docs.jsonl --output tags.jsonl --top-k 5

`lmteach VERB --help` explains a verb.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status: 0 done, 1 an error that was explained, 2 a wrong command line."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _main(argv)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a failure can still be explained
    except LmteachError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("Stopped. What was written stays; `--resume` goes on with a run.", 130)
    except BrokenPipeError:  # whoever read our output has read enough
        _discard_output()
        return 0
    except OSError as error:
        if error.filename is None:  # of standard output, perhaps
            _discard_output()
        return _complain(_explain(error), 1)
    return status


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"lmteach {__version__}")
        return 0
    verb = argv[0]
    if verb not in VERBS:
        near = nearest_name(verb, VERBS)
        hint = f" Did you mean '{near}'?" if near else ""
        return _complain(f"There is no verb '{verb}'.{hint}\n  `lmteach --help` lists the verbs.", 2)
    return _run(verb, argv[1:])


def _overview() -> str:
    lines = [
        "usage: lmteach VERB [options]",
        "",
        "A large language model teaches a small one to tag or classify text.",
        "",
    ]
    lines += ["verbs:", *(f"  {verb:<14} {summary}" for verb, summary in VERBS.items())]
    return "\n".join([*lines, "", EPILOG]).rstrip()


def _run(verb: str, argv: list[str]) -> int:
    module = importlib.import_module(f"lmteach.cli.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"lmteach {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    # Overrides may stand anywhere, with or without dashes: `--training.lr=1e-4` is how sweeps write them.
    known, overrides = parser.parse_known_args(argv)
    if overrides:
        stray = [text for text in overrides if "=" not in text]
        if stray or not hasattr(known, "overrides"):
            parser.error(_unrecognised(parser, stray or overrides))
        known.overrides = [*known.overrides, *overrides]
    # Progress and errors are ours to show; other libraries' bars would run through them.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    return int(module.run(known))


def _unrecognised(parser: argparse.ArgumentParser, texts: Sequence[str]) -> str:
    flags = [flag for action in parser._actions for flag in action.option_strings]
    near = nearest_name(texts[0].partition("=")[0], flags)
    return f"unrecognised: {' '.join(texts)}" + (f" (did you mean {near}?)" if near else "")


def _explain(error: OSError) -> str:
    what = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"The disk is full: {what} could not be written. Nothing that was already written is lost.\n"
            "  Free some space, then run the same command again; `fit` goes on with --resume."
        )
    return f"{what}: {error.strerror}." if error.strerror else f"{type(error).__name__}: {error}."


def _discard_output() -> None:
    """Keep Python from failing once more when it flushes standard output at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str, status: int) -> int:
    print(f"lmteach: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
