"""A real image registry on loopback, for tests: Debian's docker-registry, in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.engine import free_port

_START_S = 20

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry that runs."""

    address: str

    def tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of a repository, none where there is no such repository."""
        answer = requests.get(f"http://{self.address}/v2/{repository}/tags/list", timeout=10)
        return () if answer.status_code == requests.codes.not_found else tuple(sorted(answer.json()["tags"] or ()))


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """Run one; skip the test, with the reason, where there is none."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("there is no docker-registry: scripts/setup-registry")
    folder.mkdir(parents=True)
    address = f"127.0.0.1:{free_port()}"
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "images", port=address.rpartition(":")[2]))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen((program, "serve", config), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, f"the registry did not start within {_START_S} s"
            time.sleep(0.05)
        yield Registry(address=address)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/v2/", timeout=1).ok
    except requests.ConnectionError:
        return False
