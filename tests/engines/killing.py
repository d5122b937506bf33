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
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab.storage.checkpoints import CheckpointStore
    from trimtab.storage.checkpoints_bucket import BucketCheckpoints

GRACE_S = 30.0  # what an interrupt leaves
POLICY: dict[str, Any] = {"keep_last": 2, "metric": "loss", "greater_is_better": False, "keep_every_steps": 100}


class Nursery:
    """Starts children one at a time, and kills them: SIGKILL, or SIGINT and 30 s as a platform does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._stdin: IO[str] = process.stdin  # type: ignore[assignment]  # it was opened with pipes
        self._stdout: IO[str] = process.stdout  # type: ignore[assignment]  # it was opened with pipes

    def run(self, call: str, *arguments: object, output: Path) -> int:
        """Run a function in a child to its end; return its exit code. What it prints is appended to `output`."""
        self._start(call, arguments, output)
        return self._reap()

    def kill(
        self,
        call: str,
        *arguments: object,
        output: Path,
        after_lines: int,
        then_s: float,
        number: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Kill a child a moment after it has printed some lines; return its exit code, negative for a signal.

        A moment after a line, and not after the start: on a busy machine a fixed time would kill before anything began.
        """
        enough = _lines(output) + after_lines
        pid = self._start(call, arguments, output)
        while _lines(output) < enough and _lives(pid):
            time.sleep(0.001)
        time.sleep(then_s)
        os.kill(pid, number)  # one that has ended is still there: nobody reaped it
        killer = threading.Timer(GRACE_S, os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            return self._reap()
        finally:
            killer.cancel()

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
def nursery(root: Path, *modules: str, **environment: str) -> Iterator[Nursery]:
    """Hold a nursery that has imported the modules, with more variables in its environment."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.engines.killing", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", **environment},
    ) as process:
        yield Nursery(process)


def _child(call: str, arguments: list[Any], output: str) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    module, _, function = call.partition(":")
    return int(getattr(importlib.import_module(module), function)(*arguments) or 0)


def _serve() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    # An interrupt in the middle of the fork would be lost; so it waits until the child can take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
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


def save_for_ever(directory: str) -> int:
    """Save one checkpoint after another on a disk, from the newest on, until interrupted."""
    from trimtab.storage.checkpoints import open_store
    from trimtab.storage.retention import Retention

    with open_store(Path(directory), run_id="killed", retention=Retention(**POLICY)) as store:
        return save_until_interrupted(store)


def save_until_interrupted(store: CheckpointStore | BucketCheckpoints) -> int:
    """Save, saying each step once its save has returned. An interrupt is answered with a last one, and 130."""
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    newest = store.newest_complete()
    step = newest.step if newest else 0
    if newest is not None:
        with store.open_file(newest, "state") as stream:
            if stream.read() != state_of(step):
                raise AssertionError(f"half a file at step {step}")
    is_last = False
    while not is_last:
        is_last = bool(interrupts)
        step += 1
        files = {"state": partial(_write, state_of(step)), "more": partial(_write, b"")}
        store.save(step, files, metrics={"loss": loss_of(step)})
        os.write(1, f"{step}\n".encode())
    return 130


def loss_of(step: int) -> float:
    """Return the metric of a step: all over the place, so that the best is not the last."""
    return step * 7919 % 1009 / 1009


def _write(content: bytes, stream: IO[bytes]) -> None:
    stream.write(content)


def state_of(step: int) -> bytes:
    """Return what belongs into the checkpoint of a step: 100 kB that no other step has."""
    return f"{step:010d}".encode() * 10_000


if __name__ == "__main__":
    _serve()
