"""Modal, from the toolkit's side: which one, and the programs that speak to it. Imports nothing of Modal's.

Which one: the embedded Modal of this project where that is asked for; else the one that the client is set up for, by
MODAL_SERVER_URL, a token in the environment or in the client's own file. Touches nothing by itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from trimtab.errors import ProgramError, ToolMissingError, UsageError
from trimtab.process import Command, Runner, Secret
from trimtab.project import Project
from trimtab.storage.launches import FOLDER, Launch, encoded

if TYPE_CHECKING:
    from trimtab.emulation.modal.settings import PlaneSettings

APP: Final = "deploy/modal/app.py"
# The client writes all that it shows to standard output; a step's progress is what a program says on the other one.
TOLD: Final = "import os, runpy; os.dup2(2, 1); runpy.run_module('modal', run_name='__main__', alter_sys=True)"
NOTED: Final = "TRIMTAB_LAUNCH_IS_NOTED"
"""Set for the app where its caller prices the launch and writes it down; else the app does."""
_LIMIT_S: Final = 120.0
_LOOPBACK: Final = "http://127.0.0.1:"
_WHICH_MODAL: Final = "check for which Modal the client is set up: MODAL_SERVER_URL, `modal token info`"

Server = Literal["modal", "embedded modal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalClient:
    """One Modal, and how to ask it."""

    project: Project
    runner: Runner
    server: Server
    env: Mapping[str, str | Secret]

    def launch(self, words: Iterable[str], say: Callable[[str], None]) -> Mapping[str, Any]:
        """Run the app detached and return what it says of the call: `app_id` and `call_id`. Raises ProgramError."""
        argv = (sys.executable, "-m", "modal", "run", "--detach", str(self.project.root / APP), *words)
        hint = "mend that, then give the same command again: nothing was left running"
        env = {**self.env, NOTED: "1"}
        command = Command(argv=argv, env=env, cwd=self.project.root, hint=hint, house=True)
        stdout = self.runner.run(command, on_line=say).stdout
        call = called(stdout)
        if call is None:
            raise ProgramError(
                "the run has no id",
                why="modal run printed no call_id; its last lines: " + " | ".join(stdout.splitlines()[-3:]),
                remedy="look for it with `modal app list`, and stop it with `modal app stop`",
            )
        return call

    def listed(self, run_id: str | None = None) -> Mapping[str, Any]:
        """Return the records and launches that lie on the Volume, and how calls that may run stand."""
        return self._results("list", *((f"--run={run_id}",) if run_id else ()))

    def files(self, folder: str) -> Mapping[str, int]:
        """Return the sizes of the files below a folder of the Volume."""
        found: dict[str, int] = self._results("files", folder)["files"]
        return found

    def get(self, paths: Iterable[str], into: Path, say: Callable[[str], None]) -> tuple[str, ...]:
        """Fetch files of the Volume, each whole; return those that are not there any more."""
        wanted = json.dumps(list(paths)).encode()
        answer = self._results("get", "--into", str(into), stdin=wanted, say=say, timeout_s=None)
        return tuple(answer["missing"])

    def remember(self, launch: Launch) -> None:
        """Write a launch to the Volume, for every machine to see."""
        self._results("put", f"{FOLDER}/{launch.call_id}.json", stdin=encoded(launch))

    def data(self, verb: str, *words: str, say: Callable[[str], None] | None = None) -> Mapping[str, Any]:
        """Push, list or verify a data set on the Volume of all data sets: deploy/modal/volumes.py."""
        volume = self.project.catalogue.modal.data_volume
        return self._program("deploy.modal.volumes", verb, "--volume", volume, *words, say=say, timeout_s=None)

    def stop(self, call_id: str) -> None:
        """Cancel a call: its container saves a checkpoint and ends; it is not tried again."""
        self._program("deploy.modal.results", "stop", call_id)

    def logs_argv(self, app_id: str, *, call_id: str, follow: bool, lines: int) -> tuple[str, ...]:
        """Return the argv of the client that prints what a call said, and goes on until its app has ended."""
        how = ("-f",) if follow else ("--tail", str(lines))
        return (sys.executable, "-m", "modal", "app", "logs", app_id, "--function-call", call_id, *how)

    def rates(self) -> Mapping[str, str]:
        """Return the workspace's prices as Modal names them. Raises ProgramError where it does not tell."""
        argv = (sys.executable, "-m", "modal", "billing", "rates", "--json")
        hint = "the table that is there stays in use; a workspace's manager may see its rates"
        done = self.runner.run(Command(argv=argv, env=self.env, timeout_s=_LIMIT_S, hint=hint))
        try:
            found = dict(json.loads(done.stdout))
        except (ValueError, TypeError) as error:
            raise ProgramError("`modal billing rates` told no rates", why=str(error), remedy=hint) from error
        return {str(key): str(value) for key, value in found.items()}

    def _results(
        self,
        verb: str,
        *words: str,
        stdin: bytes | None = None,
        say: Callable[[str], None] | None = None,
        timeout_s: float | None = _LIMIT_S,
    ) -> Mapping[str, Any]:
        volume = self.project.catalogue.modal.results_volume
        words = (verb, "--volume", volume, *words)
        return self._program("deploy.modal.results", *words, stdin=stdin, say=say, timeout_s=timeout_s)

    def _program(
        self,
        module: str,
        *words: str,
        stdin: bytes | None = None,
        say: Callable[[str], None] | None = None,
        timeout_s: float | None = _LIMIT_S,
    ) -> Mapping[str, Any]:
        command = Command(
            argv=self.project.python_argv(module, *words),
            env=self.env,
            cwd=self.project.root,
            stdin=stdin,
            timeout_s=timeout_s,
            hint=_WHICH_MODAL,
            house=True,
        )
        answer: dict[str, Any] = json.loads(self.runner.run(command, on_line=say).stdout)
        return answer


def called(stdout: str) -> Mapping[str, Any] | None:
    """Return the last line that names a call; what Modal prints around it differs from version to version."""
    for line in reversed(stdout.splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and {"app_id", "call_id"} <= document.keys():
            return document
    return None


def connect(project: Project, runner: Runner, *, embedded: bool) -> ModalClient:
    """Return the Modal to launch on; the embedded one is started. Raises UsageError where there is no token."""
    if embedded:
        from trimtab.emulation.modal import control

        plane = control.ensure_running(project.state / "modal", plane_settings(project))
        return _client(project, runner, "embedded modal", plane.environment())
    found = _set_up(project, runner)
    if found is None:
        raise UsageError(
            "Modal does not know who asks",
            why="there is neither a token (MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or `modal token set`)"
            " nor an embedded Modal in the environment (MODAL_SERVER_URL)",
            remedy="make one with `modal token new`, or try it without an account: --embedded",
        )
    return found


def connect_or_none(project: Project, runner: Runner, *, embedded: bool = False) -> ModalClient | None:
    """Return the Modal to ask, or None where there is none; the embedded one is not started."""
    from trimtab.emulation.modal import control

    if not embedded and (found := _set_up(project, runner)) is not None:
        return found
    plane = control.status(project.state / "modal")
    return None if plane is None else _client(project, runner, "embedded modal", plane.environment())


def plane_settings(project: Project, *, runner: str = "auto") -> PlaneSettings:
    """Return how this project's embedded Modal is set up where nothing else is asked for."""
    from trimtab.emulation.modal.settings import PlaneSettings

    catalogue = project.catalogue
    return PlaneSettings(
        workspace=catalogue.modal.workspace,
        environment=catalogue.modal.environment,
        runner=runner,
        base_image=catalogue.base_image,
        aws_state_dir=str(project.state / "aws"),
    )


def _set_up(project: Project, runner: Runner) -> ModalClient | None:
    server_url = os.environ.get("MODAL_SERVER_URL", "")
    if server_url.startswith(_LOOPBACK):
        return _client(project, runner, "embedded modal", {})
    own_file = Path(os.environ.get("MODAL_CONFIG_PATH") or Path.home() / ".modal.toml")
    if os.environ.get("MODAL_TOKEN_ID") or own_file.is_file():
        # The roles trust one environment of the workspace: the catalogue's, whatever the person's own default is.
        return _client(project, runner, "modal", {"MODAL_ENVIRONMENT": project.catalogue.modal.environment})
    return None


def _client(project: Project, runner: Runner, server: Server, env: Mapping[str, str | Secret]) -> ModalClient:
    import importlib.util

    if importlib.util.find_spec("modal") is None:
        raise ToolMissingError(
            "Modal's client is not installed",
            why="runs on Modal are launched, asked for and stopped through it",
            remedy="run ./deploy.sh, which makes the environment whole, or: pip install 'trimtab[modal]'",
        )
    ours = {"TRIMTAB_CATALOGUE": str(project.catalogue_path), "TRIMTAB_STATE": str(project.state), "COLUMNS": "160"}
    return ModalClient(project=project, runner=runner, server=server, env={**ours, **env})
