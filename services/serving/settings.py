"""The service's limits and places, read from the environment once, validated together, and never changed.

Each field is set by the variable of the same name in capitals (MAX_BODY_BYTES for max_body_bytes).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.serving.problems import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping


def _usable_cores() -> int:
    return min(2, len(os.sched_getaffinity(0)))


class Settings(BaseModel):
    """Everything that may differ between two places where the same image runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8001
    models_dir: Path = Path("/models")
    models_manifest: Path = Path("models.toml")

    max_body_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    max_pixels: Annotated[int, Field(ge=1)] = 25_000_000
    max_results: Annotated[int, Field(ge=1, le=1000)] = 100
    max_requests_in_flight: Annotated[
        int, Field(ge=1, description="pictures being received, waiting or computed; one more is answered 503")
    ] = 8
    max_connections: Annotated[int, Field(ge=1)] = 256
    header_timeout_s: Annotated[float, Field(gt=0, description="from the first byte to the end of the headers")] = 10.0
    upload_timeout_s: Annotated[float, Field(gt=0, description="from the headers to the end of the body")] = 20.0
    stop_timeout_s: Annotated[int, Field(ge=1, description="what SIGTERM leaves to requests that are running")] = 10
    inference_threads: Annotated[int, Field(ge=1, le=64)] = Field(default_factory=_usable_cores)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from the environment; raises StartError that lists every variable that is wrong."""
    given: dict[str, Any] = {
        name: environment[name.upper()] for name in Settings.model_fields if name.upper() in environment
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise StartError(
            "The service's settings are wrong.",
            why="; ".join(
                f"{str(problem['loc'][0]).upper()}={problem['input']}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            ),
            remedy="Mend these environment variables, or leave them out for their defaults (docs/services.md).",
        ) from error
