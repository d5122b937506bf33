"""How a plane is set up, handed from `trimtab modal up` to the background program as a file. Pure."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from trimtab.storage.durable import write_whole

BUILDER_VERSION: Final = "2025.06"
"""The image builder that the embedded workspace is set to: it decides what the client puts into images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneSettings:
    """What a plane is told when it starts.

    `workspace` and `environment` go into identity tokens. `runner` is "docker", "namespace" or "auto". A second of a
    timeout, a retry's delay or an idle window takes `time_scale` real seconds. `grace_s` is what an interrupted
    attempt has before it is killed. `max_containers` bounds the attempts of one function that run side by side.
    """

    workspace: str
    environment: str
    runner: str
    base_image: str
    aws_state_dir: str
    time_scale: float = 1.0
    grace_s: float = 30.0
    max_containers: int = max(2, os.cpu_count() or 2)

    def scaled(self, seconds: float) -> float:
        """Return the real seconds that so many of Modal's take."""
        return seconds * self.time_scale

    def write(self, path: Path) -> None:
        """Write the settings where the background program reads them. Raises BudgetError when the disk is full."""
        write_whole(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> PlaneSettings:
        """Return what `write` wrote."""
        return cls(**json.loads(path.read_text()))
