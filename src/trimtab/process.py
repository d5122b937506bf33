"""The one place that starts another program.

A step hands its argv here. Secrets travel by `env` or `stdin`, never in argv. A failure is reported as the other
program's own: its command, exit code, last lines, and our hint. An interrupt ends the child's whole process group.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from trimtab.errors import ProgramError, ToolMissingError

TAIL_LINES: Final = 20
_GRACE_S: Final = 10.0
_MAX_STDOUT_BYTES: Final = 64 * 1024 * 1024
_HOUSE_EXIT_CODES: Final = range(2, 8)


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that prints as `***`; `reveal()` is the only way to it."""

    _value: str = field(repr=False)

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the value, for an environment or a standard input only."""
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to start.

    `house` marks a program of this repository: its exit codes 2 to 7 already mean what ours mean, so they are kept.
    `hint` says what to do when it fails. `timeout_s` is wall time; None waits for ever.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    cwd: Path | None = None
    stdin: bytes | None = None
    timeout_s: float | None = None
    hint: str = "Run the command by hand to see all of its output."
    house: bool = False

    def __str__(self) -> str:
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program that ended with 0 left: its standard output and the seconds it took."""

    stdout: str
    wall_s: float


class Runner(Protocol):
    """Whatever can run a Command; tests hand in one that records."""

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run to the end; call `on_line` for each line on standard error. Raises ProgramError, ToolMissingError."""


class ProcessRunner:
    """Runs a Command for real."""

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run to the end; call `on_line` for each line on standard error as it comes.

        Raises ToolMissingError when the program is not there, ProgramError when it fails or takes too long.
        """
        started = time.monotonic()
        environment = dict(os.environ)
        environment.update({k: v.reveal() if isinstance(v, Secret) else v for k, v in command.env.items()})
        try:
            process = subprocess.Popen(
                command.argv,
                env=environment,
                cwd=command.cwd,
                stdin=subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if command.cwd is not None and not command.cwd.is_dir():
                raise ProgramError(
                    f"{command.argv[0]} was not started",
                    why=f"its folder {command.cwd} does not exist",
                    remedy="check the path",
                ) from error
            raise ToolMissingError(
                f"{command.argv[0]} is not installed",
                why=f"`{command}` needs it and it is not on PATH",
                remedy="run `trimtab doctor` to see what is missing and how to get it",
            ) from error
        try:
            stdout, tail = self._drain(process, command, started, on_line)
        except BaseException:
            _end_group(process)
            raise
        wall_s = time.monotonic() - started
        if process.returncode != 0:
            raise _failure(command, process.returncode, tail, stdout)
        return Completed(stdout=stdout.decode(errors="replace"), wall_s=wall_s)

    def _drain(
        self,
        process: subprocess.Popen[bytes],
        command: Command,
        started: float,
        on_line: Callable[[str], None] | None,
    ) -> tuple[bytes, deque[str]]:
        assert process.stdout is not None  # noqa: S101 - both are pipes, asked for above
        assert process.stderr is not None  # noqa: S101
        if command.stdin is not None and process.stdin is not None:
            process.stdin.write(command.stdin)
            process.stdin.close()
        stdout = bytearray()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        pending = b""

        def take(line: bytes) -> None:
            text = line.decode(errors="replace").rstrip()
            tail.append(text)
            if on_line is not None:
                on_line(text)

        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                remaining = None if command.timeout_s is None else command.timeout_s - (time.monotonic() - started)
                if remaining is not None and remaining <= 0:
                    raise ProgramError(
                        f"`{command}` did not end",
                        why=f"it ran for its limit of {command.timeout_s:.0f} s; last lines:\n" + "\n".join(tail),
                        remedy=command.hint,
                    )
                for key, _ in selector.select(remaining):
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        if len(stdout) < _MAX_STDOUT_BYTES:
                            stdout += chunk
                    else:
                        *lines, pending = (pending + chunk).split(b"\n")
                        for line in lines:
                            take(line)
        if pending:
            take(pending)
        process.wait()
        return bytes(stdout), tail


def _failure(command: Command, code: int, tail: deque[str], stdout: bytes) -> ProgramError:
    lines = list(tail) or stdout.decode(errors="replace").splitlines()[-TAIL_LINES:]
    how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    error = ProgramError(
        f"`{command}` {how}",
        why="its last lines:\n" + "\n".join(f"    {line}" for line in lines) if lines else "it printed nothing",
        remedy=command.hint,
    )
    if command.house and code in _HOUSE_EXIT_CODES:
        error.exit_code = code
    return error


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started: SIGINT first, SIGKILL after a grace."""
    for number, wait_s in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            continue
        return
