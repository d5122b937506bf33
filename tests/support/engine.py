"""The real Docker engine for tests: whether there is one, unused names and ports, and tidying up by label."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trimtab.catalogue import load_catalogue
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.engine import ENGINE_REMEDY, connect_or_none

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).resolve().parents[2]
BASE_IMAGE = load_catalogue(ROOT / "trimtab.yaml").base_image
SERVICE = "gulls"


def require_engine() -> DockerClient:
    """Return a client of the engine; skip the test, with the reason, when none answers."""
    client = connect_or_none()
    if client is None:
        pytest.skip(f"no Docker engine answers: {ENGINE_REMEDY}")
    return client


def unused_project() -> str:
    """Return a project's name that nothing on the engine carries yet."""
    return f"harbour-{uuid.uuid4().hex[:8]}"


def free_port() -> int:
    """Return a port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def tidied_up(client: DockerClient, project: str) -> Iterator[str]:
    """Take away the containers, images, networks and volumes of a project of ours at the end."""
    try:
        yield project
    finally:
        ours = {"label": f"{LABEL_PROJECT}={project}"}
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            container.remove(force=True)
        for image in client.images.list(filters=ours):
            client.images.remove(image.id, force=True)
        for network in client.networks.list(filters=ours):
            network.remove()
        for volume in client.volumes.list(filters=ours):
            volume.remove(force=True)
