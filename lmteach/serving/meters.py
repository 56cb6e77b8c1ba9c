"""What Prometheus reads: counts and times of one server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Meters:
    """The meters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lmteach_requests_total", "Requests answered", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "lmteach_request_seconds",
            "Time from a request to its answer",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.texts = Counter("lmteach_texts_total", "Texts tagged", registry=self.registry)
        self.batch_texts = Histogram(
            "lmteach_batch_texts", "Texts computed together", buckets=TEXTS, registry=self.registry
        )
        self.waiting = Gauge("lmteach_waiting_texts", "Texts that wait", registry=self.registry)
        self.labels = Gauge("lmteach_labels", "Labels that are served", registry=self.registry)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def text(self, n_waiting: int) -> tuple[bytes, str]:
        """Return all meters as Prometheus reads them, and the media type."""
        self.waiting.set(n_waiting)
        return generate_latest(self.registry), "text/plain; version=0.0.4; charset=utf-8"
