"""Starts, finds, asks and stops the background program of the embedded Modal.

Used by `trimtab modal` and by tests. Touches its state folder only (`.trimtab/modal`). Imports nothing of Modal's:
`--help` and `status` answer before its protocol is loaded.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trimtab.emulation.background import BackgroundServer, read_document
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.errors import ProgramError, ToolMissingError, UsageError
from trimtab.process import Secret

SUPPORTED: Final = ("1.5.", "1.6.")
"""The client's versions that the embedded Modal is tested with, by the beginning of their number."""

_STOP_GRACE_S: Final = 10.0
_ASK_TIMEOUT_S: Final = 30.0
_PRUNE_TIMEOUT_S: Final = 600.0  # the engine takes its time to remove an image of many GiB


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

    def ask(self, verb: str, words: Mapping[str, Any] | None = None, *, timeout_s: float = _ASK_TIMEOUT_S) -> Any:
        """Return the plane's answer to one of our own questions. Raises ProgramError, UsageError."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web_port}/control/{verb}",
            data=None if words is None else json.dumps(words).encode(),
            headers={"x-token-id": self.token_id, "x-token-secret": self.token_secret.reveal()},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - as above
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
    return _server(state_dir).ensure(
        lambda: status(state_dir), prepare=lambda: settings.write(state_dir / "settings.json")
    )


def status(state_dir: Path) -> RunningPlane | None:
    """Return the plane of a state folder, or None when none runs. Raises ProgramError when its files are damaged."""
    plane = _server(state_dir).record()
    if plane is None:
        return None
    token = read_document(state_dir / "token.json", remedy=f"end process {plane['pid']}, and start it anew")
    if token is None:
        return None
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


def last_words(state_dir: Path) -> str:
    """Return what the plane of a state folder ended with: the last line of its log, and what is indented below it."""
    try:
        lines = _server(state_dir).log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    begin = max((number for number, line in enumerate(lines) if line[:1].strip()), default=0)
    return "\n".join(lines[begin:])


def write_environment(state_dir: Path) -> None:
    """Write what a shell sources to use the plane that runs, for its owner's eyes only. Called by the plane itself."""
    plane = status(state_dir)
    assert plane is not None  # noqa: S101 - who calls holds the lock, and has told its ports
    descriptor = os.open(state_dir / "environment", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(export_lines(plane.environment()))


def stop(state_dir: Path) -> bool:
    """Stop the plane of a state folder with all that it runs; return whether one ran. What it knows stays.

    What a plane that was killed left running is taken away too.
    """
    stopped = _server(state_dir).stop(forget=("environment",))
    if left_running(state_dir):
        from trimtab.emulation.modal.execution import sweep

        with _server(state_dir).start_lock():
            if status(state_dir) is None:
                sweep(state_dir)
    return stopped


def prune(state_dir: Path, *, base_image: str, older_s: float, dry_run: bool) -> dict[str, Any]:
    """Remove what nothing needs and was not used for so long, whether a plane runs or not.

    Raises UsageError where none ever ran, ToolMissingError without Modal's client.
    """
    client_version()
    if not (state_dir / "state.db").exists():
        raise UsageError(
            "there is nothing to prune",
            why=f"no embedded Modal ever ran in {state_dir}",
            remedy="`trimtab modal run app.py` starts one",
        )
    plane = status(state_dir)
    if plane is None:
        from trimtab.emulation.modal.execution import images_of
        from trimtab.emulation.modal.pruning import prune_at_rest

        with _server(state_dir).start_lock():
            plane = status(state_dir)  # one may have started while we waited
            if plane is None:
                return prune_at_rest(state_dir, images_of(state_dir, base_image), older_s=older_s, dry_run=dry_run)
    pruned: dict[str, Any] = plane.ask("prune", {"older_s": older_s, "dry_run": dry_run}, timeout_s=_PRUNE_TIMEOUT_S)
    return pruned


def left_running(state_dir: Path) -> int:
    """Count the attempts that have a place: those that run, or that a plane which was killed left running."""
    places = state_dir / "attempts"
    return len(list(places.iterdir())) if places.is_dir() else 0


def _server(state_dir: Path) -> BackgroundServer:
    return BackgroundServer(
        title="the embedded Modal",
        name="plane",
        module="trimtab.emulation.modal.daemon",
        state_dir=state_dir,
        stop_grace_s=_STOP_GRACE_S,
    )
