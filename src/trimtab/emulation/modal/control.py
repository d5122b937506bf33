"""Starts, finds, asks and stops the background program of the embedded Modal.

Used by `trimtab modal` and by tests. Touches its state folder only (`.trimtab/modal`). Imports nothing of Modal's:
`--help` and `status` answer before its protocol is loaded.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shlex
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.errors import ProgramError, ToolMissingError, UsageError
from trimtab.process import Command, ProcessRunner, Secret

SUPPORTED: Final = ("1.5.", "1.6.")
"""The client's versions that the embedded Modal is tested with, by the beginning of their number."""

_START_TIMEOUT_S: Final = 60.0
_STOP_GRACE_S: Final = 10.0
_ASK_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPlane:
    """A plane that runs."""

    state_dir: Path
    pid: int
    port: int
    web_port: int
    runner: str
    environment_name: str
    token_id: str
    token_secret: Secret = field(repr=False)

    @property
    def server_url(self) -> str:
        """Where the client speaks to it."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str | Secret]:
        """Return the variables by which the real client uses this plane, and nothing else's settings."""
        return {
            "MODAL_SERVER_URL": self.server_url,
            "MODAL_TOKEN_ID": self.token_id,
            "MODAL_TOKEN_SECRET": self.token_secret,
            "MODAL_CONFIG_PATH": str(self.state_dir / "modal.toml"),  # does not exist: a person's profile stays out
            "MODAL_ENVIRONMENT": self.environment_name,
            "MODAL_DISABLE_API_PROXY": "1",
        }

    def ask(self, verb: str, words: dict[str, str] | None = None) -> Any:
        """Return the plane's answer to one of our own questions. Raises ProgramError, UsageError."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web_port}/control/{verb}",
            data=None if words is None else json.dumps(words).encode(),
            headers={"x-token-id": self.token_id, "x-token-secret": self.token_secret.reveal()},
        )
        try:
            with urllib.request.urlopen(request, timeout=_ASK_TIMEOUT_S) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise UsageError(
                f"the embedded Modal did not {verb}", why=said, remedy="see `trimtab modal status` for what there is"
            ) from error
        except OSError as error:
            raise ProgramError(
                "the embedded Modal does not answer",
                why=str(error),
                remedy=f"read {self.state_dir / 'plane.log'}; `trimtab modal down` and `up` start it anew",
            ) from error


def export_lines(environment: dict[str, str | Secret]) -> str:
    """Return shell lines that set an environment, for `eval`."""
    words = {name: value.reveal() if isinstance(value, Secret) else value for name, value in environment.items()}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in words.items())


def client_version() -> str:
    """Return the version of the client that is installed. Raises ToolMissingError without one."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("modal")
    except PackageNotFoundError:
        raise ToolMissingError(
            "Modal's client is not installed",
            why="the embedded Modal speaks the protocol that the client ships, and runs its container side",
            remedy="run ./deploy.sh, which makes the environment whole, or: pip install 'trimtab[modal]'",
        ) from None


def ensure_running(state_dir: Path, settings: PlaneSettings) -> RunningPlane:
    """Return the plane of a state folder; start one when none runs.

    Raises ToolMissingError without Modal's client, ProgramError when the plane does not start.
    """
    version = client_version()
    if not version.startswith(SUPPORTED):
        raise ToolMissingError(
            f"Modal's client {version} is not one that the embedded Modal knows",
            why=f"it was tested with {', '.join(f'{known}x' for known in SUPPORTED)}; others may speak differently",
            remedy="run ./deploy.sh, which installs the version of the lock",
        )
    if importlib.util.find_spec("modal_proto") is None:
        raise ToolMissingError(
            "Modal's protocol is not installed", why="modal_proto is part of the client", remedy="reinstall `modal`"
        )
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(state_dir / "start.lock"):
        running = status(state_dir)
        if running is None:
            settings.write(state_dir / "settings.json")
            argv = (sys.executable, "-m", "trimtab.emulation.modal.daemon", str(state_dir.absolute()))
            hint = f"{state_dir / 'plane.log'} has all of it"
            ProcessRunner().run(Command(argv=argv, timeout_s=_START_TIMEOUT_S, hint=hint, house=True))
            running = status(state_dir)
            if running is not None:
                _write_environment(running)
    if running is None:
        raise ProgramError(
            "the embedded Modal ended as soon as it had started",
            why=f"nothing holds {state_dir / 'plane.lock'} any more",
            remedy=f"read {state_dir / 'plane.log'}",
        )
    return running


def _write_environment(plane: RunningPlane) -> None:
    path = plane.state_dir / "environment"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(export_lines(plane.environment()))


def status(state_dir: Path) -> RunningPlane | None:
    """Return the plane of a state folder, or None when none runs."""
    if not _is_held(state_dir / "plane.lock"):
        return None
    try:
        plane = json.loads((state_dir / "plane.json").read_text())
        token = json.loads((state_dir / "token.json").read_text())
    except FileNotFoundError:
        return None  # it holds its lock, but is not ready
    return RunningPlane(
        state_dir=state_dir,
        pid=plane["pid"],
        port=plane["port"],
        web_port=plane["web_port"],
        runner=plane["runner"],
        environment_name=plane.get("environment", ""),  # a plane that an older Trimtab started can be stopped
        token_id=token["token_id"],
        token_secret=Secret(token["token_secret"]),
    )


def stop(state_dir: Path) -> bool:
    """Stop the plane of a state folder with all that it runs; return whether one ran. What it knows stays."""
    running = status(state_dir)
    if running is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The lock is held, so the process that wrote this id still lives and the id is still its own.
        if _is_held(state_dir / "plane.lock"):
            os.kill(running.pid, number)
        deadline = time.monotonic() + _STOP_GRACE_S
        while _is_held(state_dir / "plane.lock") and time.monotonic() < deadline:
            time.sleep(0.02)
    for name in ("plane.json", "environment"):
        (state_dir / name).unlink(missing_ok=True)
    return True


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
