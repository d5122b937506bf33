"""What the service counts about itself, in Prometheus' terms: one registry for each application. Touches only /proc."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The service's metrics; memory and CPU of the process come with them (process_resident_memory_bytes)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "http_request_seconds",
            "From the headers read to the answer sent.",
            ("route",),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.model_seconds = Histogram(
            "model_seconds",
            "Framing, inference and decoding for each answer; with it the detector's that a pose model crops by.",
            ("model",),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.pictures_in_flight = Gauge(
            "pictures_in_flight", "Pictures being received, waiting or computed.", registry=self.registry
        )
        self.pictures_waiting = Gauge(
            "pictures_waiting", "Pictures received, waiting for the worker.", registry=self.registry
        )

    def text(self) -> bytes:
        """Return the exposition format that Prometheus reads."""
        return generate_latest(self.registry)
