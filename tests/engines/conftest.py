"""What the tests on real engines share. A test that cannot have its engine skips, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.engine import require_engine, tidied_up, unused_project

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """Give a client of the machine's Docker engine."""
    client = require_engine()
    yield client
    client.close()


@pytest.fixture
def project(engine: DockerClient) -> Iterator[str]:
    """Give the name of a project of this test's own; its containers and images are taken away at the end."""
    with tidied_up(engine, unused_project()) as name:
        yield name
