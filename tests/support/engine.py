"""The real Docker engine for tests: a small service that misbehaves as it is told, and tidying up by label."""

from __future__ import annotations

import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trimtab.catalogue import load_catalogue
from trimtab.images.build import LABEL_PROJECT, ImageBuild, docker_build_argv
from trimtab.images.container import ContainerSpec
from trimtab.images.engine import ENGINE_REMEDY, connect_or_none
from trimtab.process import Command, ProcessRunner
from trimtab.units import MIB

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).resolve().parents[2]
BASE_IMAGE = load_catalogue(ROOT / "trimtab.yaml").base_image
SERVICE = "gulls"

_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY server.py /server.py
USER 10001
CMD ["python", "-B", "/server.py"]
ENV MODE=%s
"""


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
    """Take away the containers and the images of a project of ours at the end."""
    try:
        yield project
    finally:
        ours = {"label": f"{LABEL_PROJECT}={project}"}
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            container.remove(force=True)
        for image in client.images.list(filters=ours):
            client.images.remove(image.id, force=True)


def build_service(project: str, mode: str, folder: Path) -> str:
    """Build the image of a service that behaves as its mode says, and return its name."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "support" / "release" / "server.py", folder)
    (folder / "Dockerfile").write_text(_DOCKERFILE % mode)
    build = ImageBuild(
        project=project,
        service=SERVICE,
        variant=mode,
        context=folder,
        dockerfile=folder / "Dockerfile",
        base_image=BASE_IMAGE,
        inputs=mode,
        revision="none",
    )
    ProcessRunner().run(Command(argv=docker_build_argv(build), timeout_s=120))
    return build.candidate_tag


def spec_of(project: str, image: str, *, port: int, models: Path, start_s: float) -> ContainerSpec:
    """Return how the small service is run; its release is named by its image."""
    return ContainerSpec(
        project=project,
        service=SERVICE,
        image=image,
        release=image,
        port=port,
        memory_bytes=64 * MIB,
        start_s=start_s,
        models=models,
    )
