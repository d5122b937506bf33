"""The work behind the routes: which models are ready, how many pictures are in the house, one worker for all.

One worker thread decodes and infers: pictures are decoded one at a time, so the memory of the largest allowed picture
is spent once, and the model's own threads use the cores. Memory is bounded by max_requests_in_flight bodies plus that.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.serving.finders import finders
from services.serving.models import Model
from services.serving.pictures import read_picture
from services.serving.problems import Refusal
from services.serving.upload import read_image_field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from services.serving.decoders import Findings
    from services.serving.finders import Finder
    from services.serving.manifest import Manifest, ModelSpec, Task
    from services.serving.metrics import Metrics
    from services.serving.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found in one picture, the model that the answer is named after, and how long it took."""

    model: Model
    findings: Findings
    width: int
    height: int
    picture_ms: float
    model_ms: float


class Service:
    """The models of one manifest, served within the settings' limits."""

    def __init__(self, manifest: Manifest, settings: Settings, metrics: Metrics) -> None:
        self.manifest = manifest
        self.settings = settings
        self.metrics = metrics
        self.models: dict[str, Model] = {}
        self._finders: dict[Task, Finder] = {}
        self._in_flight = 0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        # twice the models' input: enough detail for the last, exact resize
        self._working_edge = 2 * max(max(spec.input.width, spec.input.height) for spec in manifest.models.values())

    @property
    def is_ready(self) -> bool:
        """Whether every model of the manifest has answered its warm-up."""
        return bool(self._finders)

    async def load_models(self) -> None:
        """Load every model and have it answer once; raises WarmUpError."""
        loop = asyncio.get_running_loop()
        for name, spec in self.manifest.models.items():
            self.models[name] = await loop.run_in_executor(self._worker, self._load, name, spec)
        self._finders = finders(self.manifest, self.models)

    async def find(
        self,
        task: Task,
        chunks: AsyncIterator[bytes],
        headers: Mapping[str, str],
        *,
        min_score: float | None,
        max_results: int,
    ) -> Found:
        """Read one picture from the request's body and return what the task's model finds in it; raises Refusal."""
        with self._place():
            finder = self._ready_finder(task)
            try:
                async with asyncio.timeout(self.settings.upload_timeout_s):
                    data = await read_image_field(chunks, headers, max_body_bytes=self.settings.max_body_bytes)
            except TimeoutError as error:
                raise Refusal(
                    408,
                    "body_too_slow",
                    f"The body did not arrive within {self.settings.upload_timeout_s:g} s.",
                    hint="Send a smaller picture, or use a faster line.",
                ) from error
            with self.metrics.pictures_waiting.track_inprogress():
                return await asyncio.get_running_loop().run_in_executor(
                    self._worker, self._find, finder, data, min_score, min(max_results, self.settings.max_results)
                )

    def close(self) -> None:
        """Stop the worker; what it has not begun is dropped."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _load(self, name: str, spec: ModelSpec) -> Model:
        path = self.settings.models_dir / spec.file
        return Model.load(name, spec, path, threads=self.settings.inference_threads)

    def _find(self, finder: Finder, data: bytes, min_score: float | None, at_most: int) -> Found:
        started = time.perf_counter()
        picture = read_picture(data, settings=self.settings, working_edge=self._working_edge)
        decoded = time.perf_counter()
        picture_ms = (decoded - started) * 1000
        threshold = finder.model.spec.min_score if min_score is None else min_score
        findings = finder.find(picture, min_score=threshold, at_most=at_most)
        model_ms = (time.perf_counter() - decoded) * 1000
        self.metrics.model_seconds.labels(finder.model.name).observe(model_ms / 1000)
        return Found(
            model=finder.model,
            findings=findings,
            width=picture.width,
            height=picture.height,
            picture_ms=picture_ms,
            model_ms=model_ms,
        )

    def _ready_finder(self, task: Task) -> Finder:
        if task not in self._finders:
            raise Refusal(
                503,
                "starting",
                "The model is still loading.",
                hint="Try again in a second; GET /health says when it is ready.",
                headers={"retry-after": "1"},
            )
        return self._finders[task]

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold one of the places for pictures; raises Refusal when all are taken, so that no queue can grow."""
        if self._in_flight >= self.settings.max_requests_in_flight:
            raise Refusal(
                503,
                "busy",
                f"{self._in_flight} pictures are already being received or computed.",
                hint="Try again in a second.",
                headers={"retry-after": "1"},
            )
        self._in_flight += 1
        self.metrics.pictures_in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.pictures_in_flight.set(self._in_flight)
