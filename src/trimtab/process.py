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
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from trimtab.errors import ProgramError, ToolMissingError
from trimtab.units import format_duration

TAIL_LINES: Final = 20
_GRACE_S: Final = 10.0
_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 64 * 1024
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
    `hint` says what to do when it fails. `timeout_s` is wall time; None waits for ever. `grace_s` is what it has to
    tidy up in when it is interrupted.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    cwd: Path | None = None
    stdin: bytes | None = field(default=None, repr=False)
    timeout_s: float | None = None
    grace_s: float = _GRACE_S
    hint: str = "Run the command by hand to see all of its output."
    house: bool = False

    def __str__(self) -> str:
        return shlex.join(self.argv)

    def without_secrets(self, text: str) -> str:
        """Return a text that the program printed with this command's secrets struck out."""
        for value in self.env.values():
            if isinstance(value, Secret) and value.reveal():
                text = text.replace(value.reveal(), str(value))
        return text


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
        started_s = time.monotonic()
        process = _start(command)
        lines = _Lines(command, on_line)
        with ExitStack() as pipes:
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipes.enter_context(pipe)
            try:
                stdout = _converse(process, command, lines, started_s)
            except BaseException:
                _end_group(process, lines, command.grace_s)
                raise
        wall_s = time.monotonic() - started_s
        text = stdout.decode(errors="replace")
        if process.returncode != 0:
            said = lines.tail or [command.without_secrets(line) for line in text.splitlines()[-TAIL_LINES:]]
            raise _failure(command, process.returncode, said)
        return Completed(stdout=text, wall_s=wall_s)


def run_attached(command: Command) -> None:
    """Run a program that talks to the person itself: it has our terminal, and Ctrl-C is its to answer.

    Raises ToolMissingError when it is not there, ProgramError when it fails.
    """
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = _start(command, attached=True)
        try:
            code = process.wait()
        except BaseException:  # we are to end: so is what we wait for
            process.terminate()
            process.wait()
            raise
    finally:
        signal.signal(signal.SIGINT, handler)
    if code != 0:
        error = _failure(command, code, ())
        error.why = "what it printed stands above"
        raise error


class _Lines:
    """Tells standard error line by line, and keeps the last ones; a line that never ends is told in pieces."""

    def __init__(self, command: Command, on_line: Callable[[str], None] | None) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.is_interrupted = False
        self._command = command
        self._on_line = on_line
        self._pending = b""

    def feed(self, chunk: bytes) -> None:
        """Take what came; an empty chunk is the end."""
        *whole, self._pending = (self._pending + chunk).split(b"\n")
        if self._pending and (not chunk or len(self._pending) >= _CHUNK_BYTES):
            whole.append(self._pending)
            self._pending = b""
        for line in whole:
            text = self._command.without_secrets(line.decode(errors="replace").rstrip())
            self.tail.append(text)
            if self.is_interrupted and text == "Traceback (most recent call last):":
                self._on_line = None  # it did not wait for the interrupt: where that met it is nobody's concern
            if self._on_line is not None:
                self._on_line(text)


def _start(command: Command, *, attached: bool = False) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    environment.update({k: v.reveal() if isinstance(v, Secret) else v for k, v in command.env.items()})
    try:
        return subprocess.Popen(
            command.argv,
            env=environment,
            cwd=command.cwd,
            stdin=None if attached else subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
            stdout=None if attached else subprocess.PIPE,
            stderr=None if attached else subprocess.PIPE,
            start_new_session=not attached,
            preexec_fn=_heed_interrupts if attached else None,  # noqa: PLW1509 - no thread of ours runs by then
        )
    except OSError as error:
        what = f"{command.argv[0]} was not started"
        if command.cwd is not None and not command.cwd.is_dir():
            raise ProgramError(what, why=f"its folder {command.cwd} does not exist", remedy="check the path") from error
        if not isinstance(error, FileNotFoundError):
            raise ProgramError(
                what, why=f"`{command}`: {error.strerror}", remedy="see that it is a program that this user may run"
            ) from error
        raise ToolMissingError(
            f"{command.argv[0]} is not installed",
            why=f"`{command}` needs it and it is not on PATH",
            remedy="run `trimtab doctor` to see what is missing and how to get it",
        ) from error


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored signal would stay ignored in the child


def _converse(process: subprocess.Popen[bytes], command: Command, lines: _Lines, started_s: float) -> bytes:
    """Send the input, read both outputs until the program has ended, and return its standard output.

    What it leaves running in the background may hold the pipes open; the program's own end is what counts.
    """
    if process.stdin is not None and command.stdin is not None:
        # beside the reading: a program that waits to be read does not read
        threading.Thread(target=_send, args=(process.stdin, command.stdin), daemon=True).start()
    stdout = bytearray()

    def take(chunk: bytes) -> None:
        if len(stdout) < _MAX_STDOUT_BYTES:
            stdout.extend(chunk)

    def goes_on() -> bool:
        _require_time(command, lines, started_s)
        return True

    _read(process, take, lines, goes_on)
    lines.feed(b"")
    while process.poll() is None:  # it closed its outputs and went on
        _require_time(command, lines, started_s)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
    return bytes(stdout)


def _read(
    process: subprocess.Popen[bytes], take: Callable[[bytes], None], lines: _Lines, goes_on: Callable[[], bool]
) -> None:
    """Read both outputs until the program has ended, as long as `goes_on` says so."""
    with selectors.DefaultSelector() as selector:
        for pipe in filter(None, (process.stdout, process.stderr)):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            has_ended = process.poll() is not None
            ready = selector.select(0 if has_ended else _POLL_S)
            if (has_ended and not ready) or not goes_on():
                break
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if not chunk:
                    selector.unregister(key.fileobj)
                (lines.feed if key.fileobj is process.stderr else take)(chunk)


def _send(pipe: IO[bytes], content: bytes) -> None:
    with suppress(BrokenPipeError), pipe:  # whoever does not read it to the end is judged by the exit code
        pipe.write(content)


def _require_time(command: Command, lines: _Lines, started_s: float) -> None:
    if command.timeout_s is not None and time.monotonic() - started_s > command.timeout_s:
        raise ProgramError(
            f"`{command}` did not end",
            why=f"it ran for its limit of {format_duration(command.timeout_s)}; {_last_words(lines.tail)}",
            remedy=command.hint,
        )


def _failure(command: Command, code: int, said: Sequence[str]) -> ProgramError:
    how = f"was ended by signal {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    error = ProgramError(f"`{command}` {how}", why=_last_words(said), remedy=command.hint)
    if command.house and code in _HOUSE_EXIT_CODES:
        error.exit_code = code
    return error


def _last_words(said: Sequence[str]) -> str:
    return "\n".join(["its last lines:", *(f"    {line}" for line in said)]) if said else "it printed nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have none
        return str(number)


def _end_group(process: subprocess.Popen[bytes], lines: _Lines, grace_s: float) -> None:
    """End the child and whatever it started: SIGINT first, and after a grace SIGKILL for what is left of them.

    What it still says is told: how far it came, and where it saved; and a pipe that nobody reads would hold it up. What
    a shell starts in the background is deaf to SIGINT, and may outlive its leader.
    """
    until_s = time.monotonic() + grace_s
    lines.is_interrupted = True
    try:
        _signal_group(process, signal.SIGINT)
        _read(process, lambda _: None, lines, lambda: time.monotonic() < until_s)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, until_s - time.monotonic()))
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says so with EPERM
        os.killpg(process.pid, number)
