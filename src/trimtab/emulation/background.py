"""The life of a background server: started once, found by the lock that it holds, stopped, and it alone.

The embedded AWS and the embedded Modal are such servers. `BackgroundServer` is the desk's side of one, the functions
below it are the server's own. A server holds NAME.lock in its state folder for as long as it lives, which is the proof
that it lives: a reused process id proves nothing. It writes NAME.json when it is ready, and NAME.log. Touches that
folder only.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from trimtab.errors import ProgramError, TrimtabError
from trimtab.process import Command, ProcessRunner
from trimtab.storage.durable import raise_write_error

WATCH_S: Final = 2.0
"""How often a server looks whether its folder is still there."""

_START_TIMEOUT_S: Final = 60.0
_LOCK_WAIT_S: Final = 5.0
_TAIL_LINES: Final = 20

RunningT = TypeVar("RunningT")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundServer:
    """A server as the desk sees it. `title` is what people call it, `name` what its files begin with.

    `module` is the program that puts itself into the background; `stop_grace_s` is what it has to end by itself.
    """

    title: str
    name: str
    module: str
    state_dir: Path
    stop_grace_s: float

    @property
    def log(self) -> Path:
        """What it complained of."""
        return self.state_dir / f"{self.name}.log"

    @property
    def _lock(self) -> Path:
        return self.state_dir / f"{self.name}.lock"

    def record(self) -> dict[str, Any] | None:
        """Return what it wrote about itself, or None when none runs, or is not ready. Raises ProgramError."""
        if not _is_held(self._lock):
            return None
        record = self.state_dir / f"{self.name}.json"
        hint = f"end the process that holds {self._lock} (`fuser {self._lock}` names it), then start it anew"
        return read_document(record, remedy=hint)

    def ensure(self, find: Callable[[], RunningT | None], *, prepare: Callable[[], None] | None = None) -> RunningT:
        """Return what `find` finds; where that is nothing, `prepare` and start it: one, however many ask at once.

        Raises ProgramError when it does not start, BudgetError when its disk is full.
        """
        with self.start_lock():
            running = find()
            if running is None:
                if prepare is not None:
                    prepare()
                argv = (sys.executable, "-m", self.module, str(self.state_dir.absolute()))
                hint = f"{self.log} has all of it"
                ProcessRunner().run(Command(argv=argv, timeout_s=_START_TIMEOUT_S, hint=hint, house=True))
                running = find()
        if running is None:
            raise ProgramError(
                f"{self.title} ended as soon as it had started",
                why=f"nothing holds {self._lock} any more",
                remedy=f"read {self.log}",
            )
        return running

    @contextmanager
    def start_lock(self) -> Iterator[None]:
        """Let nobody start it meanwhile. Makes the state folder, for its owner alone."""
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.state_dir / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise_write_error(error, f"{self.title} has no folder: {self.state_dir} cannot be written")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def stop(self, *, forget: tuple[str, ...]) -> bool:
        """End it, and the files that are of no use without it; return whether one ran."""
        record = self.record()
        if record is None:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The lock is held, so the process that wrote this id still lives and the id is still its own.
            if _is_held(self._lock):
                os.kill(record["pid"], number)
            deadline = time.monotonic() + self.stop_grace_s
            while _is_held(self._lock) and time.monotonic() < deadline:
                time.sleep(0.02)
        for name in (f"{self.name}.json", *forget):
            (self.state_dir / name).unlink(missing_ok=True)
        return True


def read_document(path: Path, *, remedy: str) -> dict[str, Any] | None:
    """Return what `write_document` wrote, or None when it is not there. Raises ProgramError when it is damaged."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ProgramError(f"{path} cannot be read", why=str(error), remedy=remedy) from error
    if not isinstance(document, dict):
        raise ProgramError(f"{path} cannot be read", why="it is no document of ours", remedy=remedy)
    return document


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a document whole or not at all, for its owner alone. Raises BudgetError when the disk is full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise_write_error(error, f"{path} was not written")


def go_on_in_background(serve: Callable[[Callable[[], None]], None], *, log: Path, without: tuple[str, ...]) -> int:
    """Serve in a process of its own; return when it is ready (0), or with its log on standard error (its exit code).

    `serve` is handed what it calls when it is ready. Variables that begin with one of `without` do not go with it: a
    person's profile or token would change what it answers.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        with os.fdopen(writer, "wb", buffering=0) as pipe:

            def tell(word: str) -> None:
                if not pipe.closed:
                    pipe.write(word.encode())
                    pipe.close()

            _detach(log, without)
            try:
                serve(lambda: tell("ready"))
            except TrimtabError as error:
                sys.stderr.write(f"{error}\n")
                tell(str(error.exit_code))
        return 0
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        said = told.read()
    if said == b"ready":
        return 0
    with suppress(FileNotFoundError):
        sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-_TAIL_LINES:]))
    return int(said or b"4")


def _detach(log: Path, without: tuple[str, ...]) -> None:
    os.setsid()
    os.chdir("/")
    for name in [name for name in os.environ if name.startswith(without)]:
        del os.environ[name]
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


class HeldLock:
    """The lock of a server that lives; the system lets go of it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        """Take it. Raises BlockingIOError when another server holds it."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_WAIT_S  # whoever asks for our status holds the lock for an instant
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def is_ours(self) -> bool:
        """Tell whether the state folder is still the one we were started on: without it nobody can find us again."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


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
