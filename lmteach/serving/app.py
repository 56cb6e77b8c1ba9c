"""The HTTP app: /predict, /labels, /health, /metrics, /openapi.json, and two pages for people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from lmteach import __version__
from lmteach.errors import LmteachError
from lmteach.serving.batching import Batcher, OverloadedError
from lmteach.serving.limits import Gate, Measured
from lmteach.serving.meters import Meters
from lmteach.serving.schemas import Answers, Health, Labels, Problem, request_model
from lmteach.serving.student import Student, keep_above
from lmteach.students.tags import Tags

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the request cannot be read at all"},
    401: {"model": Problem, "description": "the bearer token is missing or wrong"},
    408: {"model": Problem, "description": "the request did not arrive in time"},
    413: {"model": Problem, "description": "the request is too large"},
    503: {
        "model": Problem,
        "description": "too many texts are waiting, or the student took too long; try again",
    },
}


@dataclass(frozen=True)
class ServeOptions:
    """Limits of a server.

    Attributes:
        token: the bearer token that is asked for; None = none.
        max_texts: texts a request.
        max_characters: of a text.
        max_bytes: of a request.
        seconds: from a request's last byte to its answer, and for the request to arrive.
        batch_texts: texts that the student computes together.
        max_waiting: texts that may wait.
        reload_seconds: how often to look whether the label set was changed.
    """

    token: str | None = None
    max_texts: int = 256
    max_characters: int = 100_000
    max_bytes: int = 4_000_000
    seconds: float = 30.0
    batch_texts: int = 64
    max_waiting: int = 4096
    reload_seconds: float = 1.0


class StudentFailedError(Exception):
    """The student could not compute some texts; no fault of who asked."""


class Service:
    """A student behind a batcher; follows changes of its label set."""

    def __init__(self, student: Student, options: ServeOptions, meters: Meters) -> None:
        self.student, self.options, self.meters = student, options, meters
        self.batcher = Batcher(
            self._predict,
            max_texts=options.batch_texts,
            max_waiting=options.max_waiting,
            observe=meters.batch_texts.observe,
        )
        meters.labels.set(len(student.labels))

    def _predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        return self.student.predict(texts, top_k)

    async def follow_labels(self) -> None:
        """Take up a changed label set while serving; a broken one is logged, and the old one stays."""
        while True:
            await asyncio.sleep(self.options.reload_seconds)
            try:
                if await asyncio.to_thread(self.student.labels_changed):
                    self.student = await asyncio.to_thread(self.student.with_current_labels)
                    self.meters.labels.set(len(self.student.labels))
                    log.info("serve: %d labels from now on", len(self.student.labels))
            except (LmteachError, OSError) as error:
                log.warning("serve: the label set stays as it is: %s", error)

    async def answer(self, texts: Sequence[str], top_k: int, threshold: str | float | None) -> list[Tags]:
        """Return the tags of some texts.

        Raises:
            OverloadedError: too many texts are waiting.
            TimeoutError: the student took too long.
            LmteachError: there is no such threshold.
            StudentFailedError: the student could not compute these texts.
        """
        least = self.student.check_threshold(threshold)
        try:
            async with asyncio.timeout(self.options.seconds):
                found = await self.batcher.submit(texts, top_k)
        except (OverloadedError, TimeoutError):
            raise
        except Exception as error:
            log.exception("serve: the student failed on %d texts", len(texts))
            raise StudentFailedError from error
        self.meters.texts.inc(len(texts))
        return found if least is None else [keep_above(tags, *least) for tags in found]


def create_app(student: Student, options: ServeOptions) -> FastAPI:
    """Return the app that serves a student."""
    meters = Meters()
    service = Service(student, options, meters)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        following = asyncio.create_task(service.follow_labels())
        yield
        following.cancel()
        await service.batcher.close()

    app = FastAPI(
        title=f"lmteach: {student.about.name}",
        version=__version__,
        description=f"A {student.kind} that gives texts their labels.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    _add_routes(app, service)
    _add_pages(app)
    _add_errors(app)
    app.add_middleware(Measured, meters=meters)
    app.add_middleware(
        Gate, token=options.token, max_bytes=options.max_bytes, seconds=options.seconds
    )  # the last one added stands outermost
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    options = service.options
    body = request_model(
        list(service.student.thresholds),
        calibrated=service.student.about.calibration is not None or service.student.kind == "classifier",
        max_texts=options.max_texts,
        max_characters=options.max_characters,
    )

    async def predict(request: Any) -> dict[str, Any]:
        """Tag texts: one answer a text, in order. Texts of requests that come together are computed together."""
        found = await service.answer(request.texts, request.top_k, request.threshold)
        return {"predictions": [{"tags": _tags(tags)} for tags in found]}

    predict.__annotations__["request"] = body  # made for this student, so no annotation can name it
    app.post("/predict", response_model=Answers, responses=PROBLEMS)(predict)

    @app.get("/labels", response_model=Labels, responses=PROBLEMS)
    async def labels(
        contains: Annotated[str, Query(max_length=200, description="only labels that hold this")] = "",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> dict[str, Any]:
        """List the labels that texts can get."""
        wanted = contains.casefold()
        found = [name for name in service.student.labels if wanted in name.casefold()]
        return {"n_labels": len(found), "labels": found[offset : offset + limit]}

    @app.get("/health", response_model=Health)
    async def health() -> dict[str, Any]:
        """Say what is being served."""
        student = service.student
        return {
            "status": "ok",
            "name": student.about.name,
            "kind": student.kind,
            "backend": student.backend,
            "n_labels": len(student.labels),
            "thresholds": student.thresholds,
            "max_texts": options.max_texts,
            "version": __version__,
        }

    @app.get(
        "/metrics",
        response_class=Response,
        responses={**PROBLEMS, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        text, media_type = service.meters.text(service.batcher.n_waiting)
        return Response(text, media_type=media_type)


def _tags(tags: Tags) -> list[dict[str, Any]]:
    likely = tags.probabilities or (None,) * len(tags.labels)
    return [
        {"label": label, "score": score, "probability": probability}
        for label, score, probability in zip(tags.labels, tags.scores, likely, strict=True)
    ]


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "page.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    app.mount("/static", StaticFiles(directory=STATIC))


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input, which may be large, or no text that can be sent back.
        kept = [{"loc": e["loc"], "msg": e["msg"], "type": e["type"]} for e in error.errors()]
        return JSONResponse({"detail": [_clean(entry) for entry in kept]}, 422)

    @app.exception_handler(LmteachError)
    async def refused(request: Request, error: LmteachError) -> JSONResponse:
        return JSONResponse({"detail": [{"loc": ["body"], "msg": str(error), "type": "value_error"}]}, 422)

    @app.exception_handler(StudentFailedError)
    async def failed(request: Request, error: StudentFailedError) -> JSONResponse:
        return JSONResponse({"detail": "The student failed; its server's log says how."}, 500)

    @app.exception_handler(OverloadedError)
    async def overloaded(request: Request, error: OverloadedError) -> JSONResponse:
        return JSONResponse({"detail": "Too many texts are waiting."}, 503, {"Retry-After": "1"})

    @app.exception_handler(TimeoutError)
    async def slow(request: Request, error: TimeoutError) -> JSONResponse:
        return JSONResponse({"detail": "The student took too long."}, 503, {"Retry-After": "1"})


def _clean(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an error whose texts can be sent: a key of a request may hold half a character."""
    return {
        key: [part if isinstance(part, int) else _sendable(str(part)) for part in value]
        if isinstance(value, list | tuple)
        else _sendable(str(value))
        for key, value in entry.items()
    }


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
