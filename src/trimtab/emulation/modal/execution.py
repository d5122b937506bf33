"""Chooses what attempts run in: containers of the Docker engine, or processes in mount namespaces of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.emulation.modal.attempt import AttemptRunner, ImageBuilder, VolumeStore
from trimtab.emulation.modal.settings import PlaneSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What runs attempts, keeps Volumes and makes images. `name` is what `--runner` calls it."""

    name: str
    runner: AttemptRunner
    volumes: VolumeStore
    images: ImageBuilder
