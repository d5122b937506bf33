"""The routes: what each address takes and answers. Everything else is behind them (service) or around them (edge)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from services.serving.decoders import KEYPOINTS
from services.serving.edge import Edge
from services.serving.metrics import Metrics
from services.serving.page import page_headers, page_html
from services.serving.pictures import FORMATS
from services.serving.problems import Refusal, WarmUpError
from services.serving.results import (
    DetectAnswer,
    Detection,
    Health,
    Keypoint,
    Milliseconds,
    ModelHealth,
    ModelName,
    Person,
    PictureSize,
    PoseAnswer,
    ProblemAnswer,
)
from services.serving.service import Found, Service
from services.serving.upload import FIELD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from services.serving.edge import Application
    from services.serving.manifest import Manifest, Task
    from services.serving.settings import Settings

OFFERS: Mapping[Task, str] = {"detect": "detection", "pose": "pose"}
"""What a service may offer, in the order in which it is told."""

DISCARD_S = 2.0  # how long the rest of a refused body is read and dropped

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemAnswer, "description": description}
    for status, description in {
        400: "The body is not well-formed multipart/form-data.",
        408: "The body came too slowly.",
        413: "The body is too large, or the picture has too many pixels.",
        415: "The body is not multipart/form-data, or the picture's format is not read.",
        422: "A parameter is out of range, a field is missing or unexpected, or the picture is broken.",
        503: "The service is starting or busy; Retry-After says when to try again.",
    }.items()
}

PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {
                        FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": "A JPEG, PNG, WebP or BMP file. Of several frames the first is read.",
                        }
                    },
                },
                "encoding": {FIELD: {"contentType": ", ".join(f"image/{name.lower()}" for name in FORMATS)}},
            }
        },
    }
}

log = logging.getLogger(__name__)


class Wishes(BaseModel):
    """What a caller may choose."""

    model_config = ConfigDict(extra="forbid")

    min_score: Annotated[
        float | None,
        Field(ge=0, le=1, allow_inf_nan=False, description="Leave out what scores less; default: the model's own"),
    ] = None
    max_results: Annotated[
        int, Field(ge=1, le=1000, description="Return at most this many, best first; the service may allow fewer")
    ] = 100


def create_app(
    manifest: Manifest, settings: Settings, *, on_failed_start: Callable[[WarmUpError], None]
) -> Application:
    """Return the ASGI application; `on_failed_start` hears of a model that does not answer its warm-up."""
    metrics = Metrics()
    service = Service(manifest, settings, metrics)

    async def load() -> None:
        try:
            await service.load_models()
        except WarmUpError as error:
            on_failed_start(error)
        else:
            log.info("ready", extra={"fields": {"models": {m.name: m.spec.sha256 for m in service.models.values()}}})

    tasks = tuple(task for task in OFFERS if task in manifest.offered)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        yield
        loading.cancel()
        service.close()

    app = FastAPI(
        title=f"Trimtab: {' and '.join(OFFERS[task] for task in tasks)}",
        description="Send a picture, receive what is in it. Coordinates are pixels of the upright picture.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # Swagger's page would load scripts from other hosts
        redoc_url=None,
    )
    _add_refusals(app, tasks)
    _add_observation_routes(app, service, tasks)
    if "detect" in tasks:
        _add_detect(app, service)
    if "pose" in tasks:
        _add_pose(app, service)
    return Edge(app, metrics=metrics, discard_s=DISCARD_S)


def _add_detect(app: FastAPI, service: Service) -> None:
    @app.post("/v1/detect", responses=PROBLEMS, openapi_extra=PICTURE_BODY, summary="Find objects")
    async def detect(request: Request, wishes: Annotated[Wishes, Query()]) -> DetectAnswer:
        """Find objects of the model's labels, each with a box and a score."""
        found = await service.find("detect", request.stream(), request.headers, **wishes.model_dump())
        findings = found.findings
        labels = found.model.spec.labels
        return DetectAnswer(
            **_about(found),
            detections=tuple(
                Detection(label=labels[label], score=_share(score), box=_box(box))
                for label, score, box in zip(findings.labels, findings.scores, findings.boxes, strict=True)
            ),
        )


def _add_pose(app: FastAPI, service: Service) -> None:
    @app.post("/v1/pose", responses=PROBLEMS, openapi_extra=PICTURE_BODY, summary="Find persons and their joints")
    async def pose(request: Request, wishes: Annotated[Wishes, Query()]) -> PoseAnswer:
        """Find persons, each with a box, a score and COCO's seventeen keypoints."""
        found = await service.find("pose", request.stream(), request.headers, **wishes.model_dump())
        findings = found.findings
        labels = found.model.spec.labels
        return PoseAnswer(
            **_about(found),
            persons=tuple(
                Person(
                    label=labels[label],
                    score=_share(score),
                    box=_box(box),
                    keypoints=tuple(
                        Keypoint(name=name, x=_pixel(x), y=_pixel(y), score=_share(point_score))
                        for name, (x, y, point_score) in zip(KEYPOINTS, points, strict=True)
                    ),
                )
                for label, score, box, points in zip(
                    findings.labels, findings.scores, findings.boxes, findings.keypoints, strict=True
                )
            ),
        )


def _add_observation_routes(app: FastAPI, service: Service, tasks: Sequence[Task]) -> None:
    @app.get("/health", responses={503: {"model": Health, "description": "starting"}}, summary="Is it ready?")
    async def health(response: Response) -> Health:
        """Answer 200 `healthy` once every model has answered its warm-up, 503 `starting` until then."""
        if not service.is_ready:
            response.status_code = 503
            response.headers["retry-after"] = "1"
        return Health(
            status="healthy" if service.is_ready else "starting",
            models=tuple(
                ModelHealth(
                    name=name,
                    task=spec.task,
                    sha256=spec.sha256,
                    licence=spec.licence,
                    ready=name in service.models,
                    device=service.models[name].device if name in service.models else None,
                )
                for name, spec in service.manifest.models.items()
            ),
        )

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        summary="Prometheus metrics",
    )
    async def metrics() -> Response:
        """Answer in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(
            page_html(service.settings.max_body_bytes, tuple(tasks)),
            media_type="text/html; charset=utf-8",
            headers=page_headers(),
        )


def _add_refusals(app: FastAPI, tasks: Sequence[Task]) -> None:
    """Give every answer that is not a result the one form of ProblemAnswer."""

    def answer(refusal: Refusal) -> Response:
        return JSONResponse(refusal.body(), status_code=refusal.status, headers=refusal.headers)

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return answer(refusal)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(_: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        hint = "min_score is a number from 0 to 1, max_results a whole number from 1 to 1000; there is no other."
        return answer(Refusal(422, "wrong_parameters", f"The query is wrong: {wrong}.", hint=hint))

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> Response:
        addresses = " or ".join(f"/v1/{task}" for task in tasks)
        hint = f"POST {addresses}, GET /health, /metrics, /openapi.json or the page at /."
        code = {404: "no_such_address", 405: "wrong_method"}.get(error.status_code, "refused")
        return answer(
            Refusal(error.status_code, code, f"{error.detail}.", hint=hint, headers=dict(error.headers or {}))
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is for the log

    @app.exception_handler(Exception)
    async def bug(_: Request, __: Exception) -> Response:
        hint = "It is not your request's fault; the service's log has the traceback."
        return answer(Refusal(500, "bug", "The service failed.", hint=hint))


def _about(found: Found) -> dict[str, Any]:
    return {
        "model": ModelName(name=found.model.name, sha256=found.model.spec.sha256),
        "picture": PictureSize(width=found.width, height=found.height),
        "milliseconds": Milliseconds(picture=round(found.picture_ms, 1), model=round(found.model_ms, 1)),
    }


def _pixel(value: float) -> float:
    return round(float(value), 1)


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, float(value))), 3)


def _box(corners: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (_pixel(value) for value in corners)
    return x0, y0, x1, y1
