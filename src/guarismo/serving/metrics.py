"""What Prometheus asks for at /metrics: requests, seconds, what waits, how large batches are."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server; a registry of its own, so that several servers in a process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("guarismo_requests", "Requests answered.", ("path", "status"), registry=self.registry)
        self.seconds = Histogram(
            "guarismo_request_seconds",
            "From headers to the last byte.",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "guarismo_batch_images", "Images of a call of the model.", buckets=SIZES, registry=self.registry
        )
        self.working = Gauge(
            "guarismo_requests_in_progress", "Requests begun and not answered.", registry=self.registry
        )

    def watch(self, name: str, what: str, length: Callable[[], int]) -> None:
        """A gauge that is asked when Prometheus asks."""
        Gauge(name, what, registry=self.registry).set_function(length)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts each request under its route (never under what a client wrote) and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = "none"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        self.metrics.working.inc()
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.working.dec()
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - began)
