"""Following a run on Modal to its end: what it says, as it says it, and then how it stands. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from trimtab.cli import run_sheet
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.cost.spending import settle
from trimtab.errors import HealthError, ProgramError, UsageError
from trimtab.process import Command, ProcessRunner
from trimtab.project import Project
from trimtab.steps.modal_client import TOLD, ModalClient
from trimtab.steps.registry import Asked, call_of
from trimtab.storage.launches import Launch
from trimtab.storage.registry import Run

_LOOK_EVERY_S: Final = 5.0


def follow_to_its_end(
    project: Project, console: Console, client: ModalClient, run_id: str, *, limit_s: float | None = None
) -> None:
    """Print what a run says until it has ended, or for so long. Raises HealthError when it did not end well."""
    asked = Asked(project=project, runner=client.runner, places=("modal",), client=client)
    started_s = time.monotonic()
    run = asked.run(run_id)
    if run.open_call is not None and run.launches:
        launch = launch_of(run)
        argv = client.logs_argv(launch.app_id, call_id=launch.call_id, follow=True, lines=0)
        command = Command(argv=argv, env=client.env, timeout_s=limit_s, hint="`trimtab runs show` says how it stands")
        _stream(command, console, limit_s=limit_s)
    left_s = None if limit_s is None else max(0.0, limit_s - (time.monotonic() - started_s))
    run = until_over(asked, run_id, limit_s=left_s, say=lambda _: None)
    settle(Ledger(project.state / "ledger.jsonl"), run)
    failure = None
    if run.open_call is None and run.state != "finished":
        failure = HealthError(
            f"the run {run_id} is {run.state}",
            why=run.error or "its record says no more",
            remedy=f"see `trimtab runs show {run_id}`; `trimtab train {run.job} --on modal` goes on with it",
        )
    console.result(run_sheet.document_of(run), text=lambda: run_sheet.show(console, run), failure=failure)


def _stream(command: Command, console: Console, *, limit_s: float | None) -> None:
    """Run what prints the log. It ends with its app; when our time is over, or it fails, the run itself goes on."""
    try:
        ProcessRunner().run(_to_stderr(command), on_line=lambda line: console.say(line) if line.strip() else None)
    except ProgramError as error:
        if limit_s is None:
            console.say(f"what it says cannot be followed: {error.why}", style="yellow")


def _to_stderr(command: Command) -> Command:
    """Let a client's output come as lines of progress: it writes to standard output, where our result belongs."""
    python, _, _, *words = command.argv
    return replace(command, argv=(python, "-c", TOLD, *words))


def until_over(asked: Asked, run_id: str, *, limit_s: float | None, say: Callable[[str], None]) -> Run:
    """Look at a run until no call works on it, or for so long."""
    started_s, pause_s = time.monotonic(), 0.5
    while True:
        run = asked.run(run_id)
        passed_s = time.monotonic() - started_s
        if run.open_call is None or (limit_s is not None and passed_s + pause_s > limit_s):
            return run
        say(run.state)
        time.sleep(pause_s)
        pause_s = min(_LOOK_EVERY_S, pause_s * 2)


def launch_of(run: Run) -> Launch:
    """Return the launch of the call that works on a run, or did last. Raises UsageError where nobody wrote it down."""
    call = call_of(run, "its output went to where it was started")
    for launch in run.launches:
        if launch.call_id == call:
            return launch
    raise UsageError(
        f"nobody wrote down the app of call {call}",
        why="it was launched without `trimtab train`, by `modal run`",
        remedy="find it with `modal app list`, then: modal app logs APP",
    )
