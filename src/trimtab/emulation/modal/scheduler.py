"""Which attempt runs when: gives inputs to attempts, starts and ends them, and judges how each input ended.

Used by the calls of the plane (`calls/`). One function has one queue; an attempt (a "task") serves one function until
it has nothing to do, is used up, or is ended: by a timeout, a preemption, a cancellation, or with its app. Inputs live
in `State`; here are only ids. Touches the state, the runner and the log; all on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import (
    AttemptEnd,
    AttemptRunner,
    AttemptSpec,
    ImageBuilder,
    LogStream,
)
from trimtab.emulation.modal.bell import Bell
from trimtab.emulation.modal.definitions import Function, new_id
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.emulation.modal.state import State
from trimtab.emulation.modal.tasks import Queue, Running, Task, failure, told
from trimtab.errors import TrimtabError

_log: Final = logging.getLogger(__name__)

_DEFAULT_TIMEOUT_S: Final = 300
_DEFAULT_IDLE_S: Final = 60
_POLL_S: Final = 40.0  # of the 60 s after which a client's own patience ends
_STOP_GRACE_S: Final = 30.0
_MACHINE_S: Final = 60.0  # beside the startup timeout: a busy desk takes its time to give a container its place

Result = api_pb2.GenericResult


class Journal(Protocol):
    """Where the scheduler writes what people are to read."""

    def write(self, task: Task, stream: LogStream, text: str) -> None:
        """Keep a piece of output of an attempt."""

    def state(self, task: Task, state: api_pb2.TaskState.ValueType) -> None:
        """Keep that an attempt came into a state."""


class Scheduler:
    """Runs what is called."""

    def __init__(
        self,
        *,
        state: State,
        bell: Bell,
        runner: AttemptRunner,
        images: ImageBuilder,
        settings: PlaneSettings,
        journal: Journal,
        describe: Callable[[Task, Function, api_pb2.Function], AttemptSpec],
        on_progress: Callable[[str], None],
    ) -> None:
        """`describe` makes an attempt's description; `on_progress` hears of apps whose input or attempt ended."""
        self._state = state
        self._bell = bell
        self._runner = runner
        self._images = images
        self._settings = settings
        self._journal = journal
        self._describe = describe
        self._on_progress = on_progress
        self._queues: dict[str, Queue] = {}
        self._by_token: dict[str, Task] = {}
        self._tasks: dict[str, Task] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._stopped_apps: set[str] = set()
        self._is_closing = False

    # Who asks

    def task_of(self, token: str) -> Task | None:
        """Return the attempt that a token belongs to."""
        return self._by_token.get(token)

    def tasks(self, *, app_id: str | None = None) -> list[Task]:
        """Return the attempts that live."""
        return [task for task in self._tasks.values() if app_id in {None, task.app_id}]

    def backlog(self, function_id: str) -> tuple[int, int, int]:
        """Return how many inputs wait, how many attempts live, and how many inputs run, of a function."""
        queue = self._queues.get(function_id)
        if queue is None:
            return 0, 0, 0
        return len(queue.pending), len(queue.tasks), sum(len(task.running) for task in queue.tasks.values())

    # What is called

    def submit(self, function_id: str, input_ids: list[str]) -> None:
        """Let inputs run that the state knows."""
        queue = self._queue(function_id)
        if queue is None or queue.function.app_id in self._stopped_apps:
            return
        queue.pending.extend(input_ids)
        self._bell.ring(function_id)
        self._staff(queue)

    def resume(self) -> None:
        """Go on with what an earlier plane had not finished."""
        waiting: dict[str, list[str]] = {}
        for input_id, function_id, _ in self._state.open_inputs():
            waiting.setdefault(function_id, []).append(input_id)
        for function_id, input_ids in waiting.items():
            self.submit(function_id, input_ids)

    async def take(self, task: Task, *, most: int, linger_s: float) -> list[str] | None:
        """Return inputs for an attempt; an empty list after a while without any, None when it is to end."""
        queue = self._queues[task.function_id]
        if not task.started_at:
            self._begin(task)
        deadline = time.monotonic() + _POLL_S
        while True:
            if task.ending or (queue.is_single_use and task.used):
                return None
            if queue.pending:
                break
            left_s = deadline - time.monotonic()
            idle_left_s = self._idle_window_s(queue) - (time.monotonic() - task.idle_since)
            if not task.running and idle_left_s <= 0:
                task.ending = "idle"
                return None
            if left_s <= 0:
                return []
            await self._bell.wait(task.function_id, left_s if task.running else min(left_s, idle_left_s))
        if most > 1 and len(queue.pending) < most and linger_s:
            await asyncio.sleep(linger_s)
        taken = [queue.pending.popleft() for _ in range(min(max(most, 1), len(queue.pending)))]
        for input_id in taken:
            self._assign(task, queue, input_id)
        return [input_id for input_id in taken if input_id in task.running]

    def report(self, task: Task, output: api_pb2.FunctionPutOutputsItem) -> None:
        """Take what an attempt says about one of its inputs."""
        if self._release(task, output.input_id) is None:
            return  # judged already: it timed out, or was cancelled
        if output.result.status == Result.GENERIC_STATUS_TERMINATED and not output.result.exception:
            output.result.exception = "Input was cancelled"
        self._judge(
            output.input_id, output.result, output.data_format, task_id=task.id, started=output.input_started_at
        )

    def fail_to_start(self, task: Task, result: api_pb2.GenericResult) -> None:
        """Take an attempt's word that its function could not even be loaded."""
        task.init_result = result

    async def wait_for_cancellation(self, task: Task, timeout_s: float) -> set[str]:
        """Return the inputs of an attempt that were cancelled since it last asked."""
        if not task.cancelled:
            await self._bell.wait(f"cancel:{task.id}", timeout_s)
        cancelled, task.cancelled = task.cancelled, set()
        return cancelled

    # What people do to it

    def cancel_call(self, call_id: str, *, terminate: bool) -> None:
        """End what a call has not finished; with `terminate`, the attempts that work on it too."""
        for input_id, function_id, _ in self._state.open_inputs(call_id=call_id):
            queue = self._queues.get(function_id)
            holder = next((task for task in queue.tasks.values() if input_id in task.running), None) if queue else None
            if holder is not None and terminate:
                self._release(holder, input_id)
                self._end(holder, "cancelled")
            elif holder is not None:
                holder.cancelled.add(input_id)
                self._bell.ring(f"cancel:{holder.id}")
                continue
            self._finish(input_id, Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled"))

    def preempt(self, task: Task) -> None:
        """Take an attempt's machine away, as the platform may: SIGINT, a grace, the kill; its inputs run again."""
        if task.ending or task.handle is None:
            return
        task.ending = "preempted"
        self._journal.state(task, api_pb2.TASK_STATE_PREEMPTED)
        self._journal.write(task, LogStream.SYSTEM, f"Preempted: {self._settings.grace_s:g} s until it is killed.\n")
        self._spawn(self._interrupt(task, self._settings.grace_s))

    def retire(self, task: Task) -> None:
        """Let an attempt finish what it works on, and take no more."""
        task.ending = task.ending or "stopped by its code"
        self._bell.ring(task.function_id)

    def stop_app(self, app_id: str) -> None:
        """End an app's attempts, and give what it has not finished the status of the terminated."""
        self._stopped_apps.add(app_id)
        for task in self.tasks(app_id=app_id):
            if task.running:
                for input_id in list(task.running):
                    self._release(task, input_id)
                self._end(task, "app stopped", grace_s=self._settings.grace_s)
            elif not task.ending:
                task.ending = "app stopped"
                self._bell.ring(task.function_id)
                self._spawn(self._kill_later(task, _STOP_GRACE_S))
        for input_id, _, _ in self._state.open_inputs(app_id=app_id):
            self._finish(input_id, Result(status=Result.GENERIC_STATUS_TERMINATED, exception="The app was stopped"))
        for function_id in [key for key, queue in self._queues.items() if queue.function.app_id == app_id]:
            self._queues[function_id].pending.clear()
            self._forget(self._queues[function_id])

    async def close(self) -> None:
        """Kill every attempt; their inputs stay open, and run again under the next plane."""
        self._is_closing = True
        for task in self.tasks():
            task.ending = task.ending or "the plane ended"
            if task.handle is not None:
                await task.handle.kill()
        while self._jobs:
            await asyncio.wait(self._jobs)

    # Attempts

    def _queue(self, function_id: str) -> Queue | None:
        queue = self._queues.get(function_id)
        if queue is None:
            function = self._state.get(Function, function_id)
            if function is None:
                return None
            definition = api_pb2.Function.FromString(function.definition)
            queue = self._queues[function_id] = Queue(function=function, definition=definition)
        return queue

    def redefine(self, function_id: str) -> None:
        """Use a function's newest definition from now on; attempts that run the old one take no more inputs."""
        old = self._queues.pop(function_id, None)
        if old is None:
            return
        queue = self._queue(function_id)
        assert queue is not None  # noqa: S101 - it was just written
        queue.pending.extend(old.pending)
        queue.tasks.update(old.tasks)
        for task in old.tasks.values():
            self.retire(task)
        self._staff(queue)

    def _staff(self, queue: Queue) -> None:
        """Start as many attempts as what waits needs, and as the function and this machine allow."""
        if self._is_closing or queue.function.app_id in self._stopped_apps:
            return
        working = [task for task in queue.tasks.values() if not task.ending and not (queue.is_single_use and task.used)]
        free = sum(queue.capacity - len(task.running) for task in working)
        wanted = math.ceil((len(queue.pending) - free) / queue.capacity)
        declared = queue.definition.concurrency_limit or queue.definition.autoscaler_settings.max_containers
        most = min(declared or self._settings.max_containers, self._settings.max_containers)
        for _ in range(min(wanted, most - len(queue.tasks))):
            task = Task(
                id=new_id("ta"),
                app_id=queue.function.app_id,
                function_id=queue.function.id,
                token=secrets.token_urlsafe(32),
            )
            queue.tasks[task.id] = self._tasks[task.id] = self._by_token[task.token] = task
            self._state.add_task(task.id, task.app_id, task.function_id)
            self._spawn(self._live(task, queue))

    async def _live(self, task: Task, queue: Queue) -> None:
        self._journal.state(task, api_pb2.TASK_STATE_CREATING_CONTAINER)
        ending = ""
        try:
            spec = self._describe(task, queue.function, queue.definition)
            if not self._images.is_ready(spec.image):  # an earlier plane had built it
                await self._images.ensure(spec.image, lambda stream, text: self._journal.write(task, stream, text))
            task.handle = await self._runner.start(spec, lambda stream, text: self._journal.write(task, stream, text))
            if task.ending:
                await task.handle.kill()
            patience_s = self._scaled(queue.definition.startup_timeout_secs or _DEFAULT_TIMEOUT_S) + _MACHINE_S
            timer = asyncio.get_running_loop().call_later(patience_s, self._startup_timeout, task)
            try:
                end = await task.handle.wait()
            finally:
                timer.cancel()
                await task.handle.close()
            ending = task.ending or told(end)
            self._bury(task, end, ending)
        except TrimtabError as error:
            ending = error.what
            self._journal.write(task, LogStream.SYSTEM, f"error: {error}\n")
            task.init_result = task.init_result or failure(f"{error.what}: {error.why}")
            self._bury(task, AttemptEnd(exit_code=None, signal=None), ending)
        except Exception as error:  # noqa: BLE001 - a call must not wait for ever for what a fault of ours ended
            _log.exception("the attempt %s failed", task.id)
            ending = f"the embedded Modal failed: {error!r}"
            task.init_result = task.init_result or failure(ending)
            self._bury(task, AttemptEnd(exit_code=None, signal=None), ending)
        finally:
            self._state.end_task(task.id, ending or "the plane failed")
            self._journal.state(task, api_pb2.TASK_STATE_COMPLETED)
            del self._tasks[task.id], self._by_token[task.token]
            self._queues[task.function_id].tasks.pop(task.id, None)
            self._bell.ring(f"app:{task.app_id}")
        self._staff(self._queues[task.function_id])
        self._forget(self._queues[task.function_id])
        self._on_progress(task.app_id)

    def _forget(self, queue: Queue) -> None:
        if queue.function.app_id in self._stopped_apps and not queue.tasks:
            self._queues.pop(queue.function.id, None)

    def _bury(self, task: Task, end: AttemptEnd, ending: str) -> None:
        """Judge the inputs that an attempt left behind."""
        held = [running.input_id for running in list(task.running.values()) if self._release(task, running.input_id)]
        if self._is_closing:
            return
        queue = self._queues[task.function_id]
        if task.init_result is None and not task.started_at and task.ending not in {"preempted", "app stopped"}:
            task.init_result = failure(f"The container {told(end)} before it took its first input")
        if task.init_result is not None:  # every input would meet the same end; each counts it as one failure
            waiting, queue.pending = list(queue.pending), deque()
            for input_id in [*held, *waiting]:
                self._judge(input_id, task.init_result, task_id=task.id)
        elif task.ending == "preempted":
            queue.pending.extendleft(reversed(held))
        else:
            for input_id in held:
                self._judge(input_id, failure(f"The container {ending} while it worked on the input"), task_id=task.id)

    def _begin(self, task: Task) -> None:
        task.started_at = time.time()
        task.idle_since = time.monotonic()
        self._state.start_task(task.id)
        self._journal.state(task, api_pb2.TASK_STATE_ACTIVE)

    def _startup_timeout(self, task: Task) -> None:
        if not task.started_at:
            task.init_result = failure("The container did not come up within its startup timeout")
            self._end(task, "startup timeout")

    def _assign(self, task: Task, queue: Queue, input_id: str) -> None:
        row = self._state.input(input_id)
        if row is None or row["entry"] is not None:
            return  # cancelled, or its app was stopped
        self._state.count_attempt(input_id)
        timeout_s = queue.definition.timeout_secs or _DEFAULT_TIMEOUT_S
        timer = asyncio.get_running_loop().call_later(self._scaled(timeout_s), self._timeout, task, input_id, timeout_s)
        task.used = True
        task.running[input_id] = Running(input_id=input_id, call_id=row["call_id"], started_at=time.time(), timer=timer)

    def _release(self, task: Task, input_id: str) -> Running | None:
        running = task.running.pop(input_id, None)
        if running is not None:
            running.timer.cancel()
            task.idle_since = time.monotonic()
        return running

    def _timeout(self, task: Task, input_id: str, timeout_s: float) -> None:
        """End an attempt whose input took too long; what else it worked on runs again."""
        if self._release(task, input_id) is None:
            return
        what = f"Task's current input hit its timeout of {timeout_s:g}s"
        self._journal.write(task, LogStream.SYSTEM, f"{what}: {input_id}\n")
        others = [running.input_id for running in list(task.running.values()) if self._release(task, running.input_id)]
        self._queues[task.function_id].pending.extendleft(reversed(others))
        self._end(task, "timeout")
        self._judge(input_id, Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=what), task_id=task.id)

    def _end(self, task: Task, why: str, *, grace_s: float = 0.0) -> None:
        task.ending = task.ending or why
        self._bell.ring(task.function_id)
        self._spawn(self._interrupt(task, grace_s) if grace_s else self._kill_later(task, 0.0))

    async def _interrupt(self, task: Task, grace_s: float) -> None:
        if task.handle is not None:
            await task.handle.interrupt()
        await self._kill_later(task, grace_s)

    async def _kill_later(self, task: Task, delay_s: float) -> None:
        deadline = time.monotonic() + delay_s
        while task.id in self._tasks and time.monotonic() < deadline and not self._is_closing:
            await self._bell.wait(f"app:{task.app_id}", deadline - time.monotonic())
        if task.id in self._tasks and task.handle is not None:
            await task.handle.kill()

    # Results

    def _judge(
        self,
        input_id: str,
        result: api_pb2.GenericResult,
        data_format: api_pb2.DataFormat.ValueType = api_pb2.DATA_FORMAT_UNSPECIFIED,
        *,
        task_id: str = "",
        started: float = 0.0,
    ) -> None:
        """Keep a result, or let the input run once more when its function's policy says so."""
        row = self._state.input(input_id)
        if row is None or row["entry"] is not None:
            return
        queue = self._queue(row["function_id"])
        policy = queue.definition.retry_policy if queue else api_pb2.FunctionRetryPolicy()
        final = result.status in {Result.GENERIC_STATUS_SUCCESS, Result.GENERIC_STATUS_TERMINATED}
        if queue is None or final or row["failures"] >= policy.retries:
            self._finish(input_id, result, data_format, task_id=task_id, started=started)
            return
        delay_ms = min(
            policy.initial_delay_ms * (policy.backoff_coefficient or 1.0) ** row["failures"],
            policy.max_delay_ms or math.inf,
        )
        self._state.count_failure(input_id)
        asyncio.get_running_loop().call_later(
            self._scaled(delay_ms / 1000), self.submit, row["function_id"], [input_id]
        )

    def _finish(
        self,
        input_id: str,
        result: api_pb2.GenericResult,
        data_format: api_pb2.DataFormat.ValueType = api_pb2.DATA_FORMAT_UNSPECIFIED,
        *,
        task_id: str = "",
        started: float = 0.0,
    ) -> None:
        row = self._state.input(input_id)
        if row is None or row["entry"] is not None:
            return
        item = api_pb2.FunctionGetOutputsItem(
            result=result,
            idx=row["idx"],
            input_id=input_id,
            data_format=data_format,
            task_id=task_id,
            input_started_at=started,
            output_created_at=time.time(),
        )
        self._state.finish(input_id, item.SerializeToString(), result.status)
        self._bell.ring(row["call_id"])
        self._on_progress(row["app_id"])

    # Time

    def _scaled(self, seconds: float) -> float:
        return seconds * self._settings.time_scale

    def _idle_window_s(self, queue: Queue) -> float:
        return self._scaled(queue.definition.task_idle_timeout_secs or _DEFAULT_IDLE_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
