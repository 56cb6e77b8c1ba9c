"""A listening socket, and uvicorn on it."""

from __future__ import annotations

import socket

import uvicorn

from lmteach.errors import LmteachError
from lmteach.serving.app import ServeOptions, create_app
from lmteach.serving.student import Student


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        LmteachError: the address is taken, or none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        raise LmteachError(
            f"Cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}.",
            mend="Name another port with --port; 0 takes a free one.",
        ) from error
    return listening


def serve(student: Student, options: ServeOptions, listening: socket.socket) -> None:
    """Serve a student until the process is told to stop."""
    student.predict(["warm up"], top_k=1)
    config = uvicorn.Config(
        create_app(student, options),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        limit_concurrency=1000,
    )
    uvicorn.Server(config).run(sockets=[listening])
