"""Answer over HTTP with a student: /predict, /labels, /health, /metrics, and a page to try it.

It listens on this machine alone unless --host says otherwise. Where the environment variable LMTEACH_TOKEN is set,
requests must carry it: `Authorization: Bearer TOKEN`. A change by `lmteach labels` is served at once.

examples:
  lmteach serve runs/lmtx_quickstart --port 8000
  LMTEACH_TOKEN=secret lmteach serve tagger --host 0.0.0.0
  curl -s localhost:8000/predict --json '{"texts": ["read a file line by line"], "top_k": 3}'
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmteach.serving.app import ServeOptions

TOKEN = "LMTEACH_TOKEN"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or one that export wrote")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--backend", choices=("auto", "onnx", "torch"), default="auto")
    parser.add_argument("--max-texts", type=int, default=256, metavar="N", help="texts a request (256)")
    parser.add_argument(
        "--max-bytes", type=int, default=4_000_000, metavar="N", help="of a request (4000000)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="S", help="time limit of a request (30)"
    )
    parser.add_argument(
        "--batch-texts", type=int, default=64, metavar="N", help="texts computed together (64)"
    )


def run(args: argparse.Namespace) -> int:
    """Load the student and serve until stopped."""
    import logging

    from lmteach.serving.load import load_student
    from lmteach.serving.server import open_socket, serve

    options = _options(args)
    listening = open_socket(args.host, args.port)  # before the student is loaded, which takes a while
    student = load_student(args.run, backend=args.backend)
    host = f"[{args.host}]" if ":" in args.host else args.host
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("lmteach").setLevel(logging.INFO)
    if options.token is None and args.host not in LOOPBACK:
        print(f"serve: anyone who reaches {args.host} may ask; {TOKEN} would ask for a token", flush=True)
    print(
        f"serve: {student.kind} {student.about.name}, {len(student.labels):,} labels, {student.backend}, "
        f"at http://{host}:{listening.getsockname()[1]}/",
        flush=True,
    )
    serve(student, options, listening)
    return 0


def _options(args: argparse.Namespace) -> ServeOptions:
    from lmteach.errors import LmteachError, missing_package

    try:
        from lmteach.serving.app import ServeOptions
    except ModuleNotFoundError as error:
        raise missing_package(
            error.name or "fastapi", needed_by="lmteach serve", command="pip install 'lmteach[serve]'"
        ) from error
    for name in ("max_texts", "max_bytes", "seconds", "batch_texts"):
        if not getattr(args, name) > 0:
            raise LmteachError(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be above 0.")
    token = os.environ.get(TOKEN)
    if token is not None and not token.strip():
        raise LmteachError(f"{TOKEN} is set, but empty.", mend="Give it a value, or unset it.")
    return ServeOptions(
        token=token.strip() if token else None,
        max_texts=args.max_texts,
        max_bytes=args.max_bytes,
        seconds=args.seconds,
        batch_texts=args.batch_texts,
    )
