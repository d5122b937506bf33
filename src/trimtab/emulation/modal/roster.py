"""The attempts that live: each is made, given a place, started, interrupted or killed, and forgotten when it ended.

Used by the scheduler, which says when and judges what an attempt leaves behind. Touches the runner, the images and the
state's table of attempts; all on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import AttemptEnd, AttemptRunner, AttemptSpec, ImageBuilder, LogStream
from trimtab.emulation.modal.bell import Bell
from trimtab.emulation.modal.definitions import Function, new_id
from trimtab.emulation.modal.history import History
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.emulation.modal.tasks import DEFAULT_TIMEOUT_S, Queue, Task, failure, told
from trimtab.errors import TrimtabError

_log: Final = logging.getLogger(__name__)

_MACHINE_S: Final = 60.0  # beside the startup timeout: a busy desk takes its time to give a container its place


class Journal(Protocol):
    """Where is written what people are to read."""

    def write(self, task: Task, stream: LogStream, text: str) -> None:
        """Keep a piece of output of an attempt."""

    def state(self, task: Task, state: api_pb2.TaskState.ValueType) -> None:
        """Keep that an attempt came into a state."""


class Roster:
    """Every attempt from its making to its end."""

    def __init__(
        self,
        *,
        history: History,
        bell: Bell,
        runner: AttemptRunner,
        images: ImageBuilder,
        settings: PlaneSettings,
        journal: Journal,
        describe: Callable[[Task, Function, api_pb2.Function], AttemptSpec],
        on_end: Callable[[Task, AttemptEnd, str], None],
    ) -> None:
        """`describe` makes an attempt's description; `on_end` hears of one that is gone, and how it ended."""
        self._history = history
        self._bell = bell
        self._runner = runner
        self._images = images
        self._settings = settings
        self._journal = journal
        self._describe = describe
        self._on_end = on_end
        self._tasks: dict[str, Task] = {}
        self._by_token: dict[str, Task] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self.is_closing = False

    def task_of(self, token: str) -> Task | None:
        """Return the attempt that a token belongs to."""
        return self._by_token.get(token)

    def tasks(self, *, app_id: str | None = None) -> list[Task]:
        """Return the attempts that live."""
        return [task for task in self._tasks.values() if app_id in {None, task.app_id}]

    def add(self, queue: Queue) -> None:
        """Make an attempt at a function, and let it live."""
        task = Task(
            id=new_id("ta"),
            app_id=queue.function.app_id,
            function_id=queue.function.id,
            token=secrets.token_urlsafe(32),
        )
        queue.tasks[task.id] = self._tasks[task.id] = self._by_token[task.token] = task
        self._history.add_task(task.id, task.app_id, task.function_id)
        self._spawn(self._live(task, queue))

    def preempt(self, task: Task) -> None:
        """Take an attempt's machine away, as the platform may: SIGINT, a grace, the kill; its inputs run again."""
        if task.ending or task.handle is None:
            return
        task.ending = "preempted"
        self._journal.state(task, api_pb2.TASK_STATE_PREEMPTED)
        self._journal.write(task, LogStream.SYSTEM, f"Preempted: {self._settings.grace_s:g} s until it is killed.\n")
        self._spawn(self._interrupt(task, self._settings.grace_s))

    def retire(self, task: Task, why: str = "stopped by its code", *, kill_after_s: float | None = None) -> None:
        """Let an attempt finish what it works on, and take no more; kill it after a time, where one is given."""
        task.ending = task.ending or why
        self._bell.ring(task.function_id)
        if kill_after_s is not None:
            self._spawn(self._kill_later(task, kill_after_s))

    def end(self, task: Task, why: str, *, grace_s: float = 0.0) -> None:
        """End an attempt: at once, or by SIGINT with a grace before the kill."""
        task.ending = task.ending or why
        self._bell.ring(task.function_id)
        self._spawn(self._interrupt(task, grace_s) if grace_s else self._kill_later(task, 0.0))

    async def close(self) -> None:
        """Kill every attempt, and return when all are gone."""
        self.is_closing = True
        for task in self.tasks():
            task.ending = task.ending or "the plane ended"
            if task.handle is not None:
                await task.handle.kill()
        while self._jobs:
            await asyncio.wait(self._jobs)

    async def _live(self, task: Task, queue: Queue) -> None:
        end = AttemptEnd(exit_code=None, signal=None)
        try:
            self._journal.state(task, api_pb2.TASK_STATE_CREATING_CONTAINER)
            end = await self._run(task, queue)
            ending = task.ending or told(end)
        except TrimtabError as error:
            ending = error.what
            self._journal.write(task, LogStream.SYSTEM, f"error: {error}\n")
            task.init_result = task.init_result or failure(f"{error.what}: {error.why}")
        except Exception as error:  # noqa: BLE001 - a call must not wait for ever for what a fault of ours ended
            _log.exception("the attempt %s failed", task.id)
            ending = f"the embedded Modal failed: {error!r}"
            task.init_result = task.init_result or failure(ending)
        del self._tasks[task.id], self._by_token[task.token]
        self._history.end_task(task.id, ending)
        self._journal.state(task, api_pb2.TASK_STATE_COMPLETED)
        self._on_end(task, end, ending)
        self._bell.ring(f"app:{task.app_id}")

    async def _run(self, task: Task, queue: Queue) -> AttemptEnd:
        """Give an attempt its place, start it, and return how it ended, when its place is taken away."""

        def log(stream: LogStream, text: str) -> None:
            self._journal.write(task, stream, text)

        spec = self._describe(task, queue.function, queue.definition)
        if not self._images.is_ready(spec.image):  # an earlier plane had built it
            await self._images.ensure(spec.image, log)
        task.handle = await self._runner.start(spec, log)
        if task.ending:
            await task.handle.kill()
        patience_s = self._settings.scaled(queue.definition.startup_timeout_secs or DEFAULT_TIMEOUT_S) + _MACHINE_S
        timer = asyncio.get_running_loop().call_later(patience_s, self._startup_timeout, task)
        try:
            return await task.handle.wait()
        finally:
            timer.cancel()
            await task.handle.close()

    def _startup_timeout(self, task: Task) -> None:
        if not task.started_at:
            task.init_result = failure("The container did not come up within its startup timeout")
            self.end(task, "startup timeout")

    async def _interrupt(self, task: Task, grace_s: float) -> None:
        if task.handle is not None:
            await task.handle.interrupt()
        await self._kill_later(task, grace_s)

    async def _kill_later(self, task: Task, delay_s: float) -> None:
        deadline = time.monotonic() + delay_s
        while task.id in self._tasks and time.monotonic() < deadline and not self.is_closing:
            await self._bell.wait(f"app:{task.app_id}", deadline - time.monotonic())
        if task.id in self._tasks and task.handle is not None:
            await task.handle.kill()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
