"""Processes to kill by the hundred: forked from one that has imported what is slow, so that each costs milliseconds.

`python -m tests.engines.killing MODULE ...` imports the modules, then forks a child for each line of stdin
(`{"call": "module:function", "arguments": [...], "output": path}`), says its pid, and later how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Nursery:
    """Starts children one at a time, and kills them with SIGKILL."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._stdin: IO[str] = process.stdin  # type: ignore[assignment]  # it was opened with pipes
        self._stdout: IO[str] = process.stdout  # type: ignore[assignment]  # it was opened with pipes

    def run(self, call: str, *arguments: object, output: Path) -> int:
        """Run a function in a child to its end; return its exit code. What it prints is appended to `output`."""
        self._start(call, arguments, output)
        return self._reap()

    def kill(self, call: str, *arguments: object, output: Path, after_lines: int, then_s: float) -> int:
        """Kill a child a moment after it has printed some lines; return its exit code, negative for a signal.

        A moment after a line, and not after the start: on a busy machine a fixed time would kill before anything began.
        """
        enough = _lines(output) + after_lines
        pid = self._start(call, arguments, output)
        while _lines(output) < enough and _lives(pid):
            time.sleep(0.001)
        time.sleep(then_s)
        os.kill(pid, signal.SIGKILL)  # one that has ended is still there: nobody reaped it
        return self._reap()

    def _start(self, call: str, arguments: tuple[object, ...], output: Path) -> int:
        return int(self._ask(json.dumps({"call": call, "arguments": arguments, "output": str(output)})))

    def _reap(self) -> int:
        return int(self._ask("reap"))

    def _ask(self, line: str) -> str:
        self._stdin.write(f"{line}\n")
        self._stdin.flush()
        return self._stdout.readline()


def _lines(output: Path) -> int:
    return output.read_bytes().count(b"\n") if output.exists() else 0


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@contextmanager
def nursery(root: Path, *modules: str) -> Iterator[Nursery]:
    """Hold a nursery that has imported the modules."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.engines.killing", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
    ) as process:
        yield Nursery(process)


def _child(call: str, arguments: list[Any], output: str) -> int:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    module, _, function = call.partition(":")
    return int(getattr(importlib.import_module(module), function)(*arguments) or 0)


def _serve() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _child(**json.loads(line))
            except BaseException:  # noqa: BLE001  # whatever happens, a child never goes on as its parent
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def save_for_ever(directory: str) -> None:
    """Go on from the newest checkpoint and save one after another, saying each step once its save has returned."""
    from trimtab.storage.checkpoints import open_store
    from trimtab.storage.retention import Retention

    with open_store(Path(directory), run_id="killed", retention=Retention(keep_last=2)) as store:
        newest = store.newest_complete()
        step = newest.step if newest else 0
        if newest and (newest.path / "state").read_bytes() != state_of(step):
            raise AssertionError(f"half a file at step {step}")
        while True:
            step += 1
            content = state_of(step)
            store.save(step, {"state": partial(_write, content), "more": partial(_write, b"")})
            os.write(1, f"{step}\n".encode())


def _write(content: bytes, stream: IO[bytes]) -> None:
    stream.write(content)


def state_of(step: int) -> bytes:
    """Return what belongs into the checkpoint of a step: 100 kB that no other step has."""
    return f"{step:010d}".encode() * 10_000


if __name__ == "__main__":
    _serve()
