"""An embedded Modal for a test: a plane of its own, and the real client and CLI on it, each in a process of its own.

`modal_plane` is the pytest fixture; `embedded_modal` makes one with other settings. In both, attempts run in Docker
containers where an engine answers, and else in mount namespaces.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import BASE_IMAGE
from trimtab.emulation.modal import control
from trimtab.emulation.modal.control import RunningPlane
from trimtab.emulation.modal.place import plane_name
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.images.engine import connect_or_none
from trimtab.process import Secret

WORKSPACE = "ac-harbour01"
ENVIRONMENT = "main"
_LIMIT_S = 240


@dataclass(kw_only=True)
class ModalPlane:
    """A plane that runs, and the client on it."""

    running: RunningPlane
    settings: PlaneSettings
    cwd: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of a client's process."""
        words = {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in self.running.environment().items()
        }
        mine = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
        return {**mine, "COLUMNS": "200", **words, **self.env}

    def start(self, *words: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the real CLI."""
        argv = (sys.executable, "-m", "modal", *map(str, words))
        pipe = subprocess.PIPE
        environment = {**self.environment(), **(env or {})}
        return subprocess.Popen(argv, cwd=self.cwd, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT)

    def cli(self, *words: str | Path, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Run the real CLI to its end; return what it printed."""
        process = self.start(*words, env=env)
        output, _ = process.communicate(timeout=_LIMIT_S)
        assert process.returncode == code, output
        return output

    def python(self, code: str, *, env: Mapping[str, str] | None = None) -> Any:
        """Run code with the real client, in a process of its own, and return what its `answer` holds."""
        script = f"import json, modal\n{code}\nprint('\\nanswer:', json.dumps(answer))"
        done = subprocess.run(
            (sys.executable, "-c", script),
            cwd=self.cwd,
            env={**self.environment(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.rpartition("answer: ")[2])

    def wait_for_log(self, app: str, text: str, *, within_s: float = 90.0) -> str:
        """Follow an app's output with the real CLI until a text is in it; return what was said by then."""
        process = self.start("app", "logs", "-f", app)
        timer = threading.Timer(within_s, process.kill)
        timer.start()
        said = ""
        try:
            assert process.stdout is not None
            while text not in said:
                line = process.stdout.readline()
                assert line, f"{text!r} was not said, but: {said}"
                said += line
        finally:
            timer.cancel()
            process.kill()
            process.communicate()
        return said

    def record(self) -> dict[str, Any]:
        """Return what the plane knows, as `trimtab modal status --json` prints it."""
        record: dict[str, Any] = self.running.ask("status")
        return record

    def restart(self) -> None:
        """End the plane and start it anew on the same state."""
        control.stop(self.running.state_dir)
        self.running = control.ensure_running(self.running.state_dir, self.settings)

    def log(self) -> str:
        """Return what the plane itself complained of."""
        return (self.running.state_dir / "plane.log").read_text()


@contextmanager
def embedded_modal(folder: Path, *, aws_state_dir: Path | None = None, **settings: Any) -> Iterator[ModalPlane]:
    """Run a plane in a folder, and stop it at the end."""
    made = PlaneSettings(
        workspace=settings.pop("workspace", WORKSPACE),
        environment=settings.pop("environment", ENVIRONMENT),
        runner=settings.pop("runner", "auto"),
        base_image=BASE_IMAGE,
        aws_state_dir="" if aws_state_dir is None else str(aws_state_dir),
        **settings,
    )
    state_dir = folder / "modal"
    running = control.ensure_running(state_dir, made)
    try:
        yield ModalPlane(running=running, settings=made, cwd=folder)
    finally:
        control.stop(state_dir)
        _let_go_of_images(state_dir)


def _let_go_of_images(state_dir: Path) -> None:
    """Take a plane's name off the images that have another; the last name stays, so that no later test builds anew."""
    client = connect_or_none()
    for image in client.api.images(name="trimtab-modal") if client is not None else ():
        names = image["RepoTags"] or []
        ours = [name for name in names if name.endswith(f"-{plane_name(state_dir)}")]
        if client is not None and len(names) > len(ours):
            for name in ours:
                client.images.remove(name)


@pytest.fixture(scope="module")
def modal_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    """Give a plane to the tests of one module, with short graces."""
    with embedded_modal(tmp_path_factory.mktemp("plane"), grace_s=5.0) as plane:
        yield plane


def wait_until(condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Return what a condition gives, once it gives something."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")
