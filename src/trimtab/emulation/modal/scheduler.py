"""Which input runs when, and where: one function has one queue, and attempts that work on it.

Used by the calls of the plane (`calls/`). An attempt (a "task") serves one function until it has nothing to do, is used
up, or is ended: by a timeout, a preemption, a cancellation, or with its app. How attempts live is `roster.py`'s, how an
input ended is `verdicts.py`'s. Inputs live in `State`; here are only ids. All on one event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import AttemptEnd, AttemptRunner, AttemptSpec, ImageBuilder, LogStream
from trimtab.emulation.modal.bell import Bell
from trimtab.emulation.modal.definitions import Function
from trimtab.emulation.modal.roster import Journal, Roster
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.emulation.modal.state import State
from trimtab.emulation.modal.tasks import DEFAULT_TIMEOUT_S, Queue, Running, Task, failure, told
from trimtab.emulation.modal.verdicts import Outcome, Result, Verdicts, cancelled

_DEFAULT_IDLE_S: Final = 60
_POLL_S: Final = 40.0  # of the 60 s after which a client's own patience ends
_STOP_GRACE_S: Final = 30.0


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
        self._settings = settings
        self._journal = journal
        self._on_progress = on_progress
        self._queues: dict[str, Queue] = {}
        self._stopped_apps: set[str] = set()
        self._verdicts = Verdicts(
            history=state.history,
            bell=bell,
            settings=settings,
            policy_of=self._retry_policy,
            again=self.submit,
            on_progress=on_progress,
        )
        self.roster = Roster(
            history=state.history,
            bell=bell,
            runner=runner,
            images=images,
            settings=settings,
            journal=journal,
            describe=describe,
            on_end=self._replace,
        )

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
        for input_id, function_id, _ in self._state.history.open_inputs():
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
        outcome = Outcome(
            result=output.result,
            data_format=output.data_format,
            task_id=task.id,
            started_at=output.input_started_at,
        )
        self._verdicts.judge(output.input_id, outcome)

    def fail_to_start(self, task: Task, result: api_pb2.GenericResult) -> None:
        """Take an attempt's word that its function could not even be loaded."""
        task.init_result = result

    async def wait_for_cancellation(self, task: Task, timeout_s: float) -> set[str]:
        """Return the inputs of an attempt that were cancelled since it last asked."""
        if not task.cancelled:
            await self._bell.wait(f"cancel:{task.id}", timeout_s)
        found, task.cancelled = task.cancelled, set()
        return found

    # What people do to it

    def cancel_call(self, call_id: str, *, terminate: bool) -> None:
        """End what a call has not finished; with `terminate`, the attempts that work on it too."""
        for input_id, function_id, _ in self._state.history.open_inputs(call_id=call_id):
            queue = self._queues.get(function_id)
            holder = next((task for task in queue.tasks.values() if input_id in task.running), None) if queue else None
            if holder is not None and terminate:
                self._release(holder, input_id)
                self.roster.end(holder, "cancelled")
            elif holder is not None:
                holder.cancelled.add(input_id)
                self._bell.ring(f"cancel:{holder.id}")
                continue
            self._verdicts.finish(input_id, cancelled("Input was cancelled"))

    def stop_app(self, app_id: str) -> None:
        """End an app's attempts, and give what it has not finished the status of the terminated."""
        self._stopped_apps.add(app_id)
        for task in self.roster.tasks(app_id=app_id):
            if task.running:
                self._release_all(task)
                self.roster.end(task, "app stopped", grace_s=self._settings.grace_s)
            elif not task.ending:
                self.roster.retire(task, "app stopped", kill_after_s=_STOP_GRACE_S)
        for input_id, _, _ in self._state.history.open_inputs(app_id=app_id):
            self._verdicts.finish(input_id, cancelled("The app was stopped"))
        for function_id in [key for key, queue in self._queues.items() if queue.function.app_id == app_id]:
            self._queues[function_id].pending.clear()
            self._forget(self._queues[function_id])

    # Queues

    def _queue(self, function_id: str) -> Queue | None:
        queue = self._queues.get(function_id)
        if queue is None:
            function = self._state.get(Function, function_id)
            if function is None:
                return None
            definition = api_pb2.Function.FromString(function.definition)
            queue = self._queues[function_id] = Queue(function=function, definition=definition)
        return queue

    def _retry_policy(self, function_id: str) -> api_pb2.FunctionRetryPolicy | None:
        queue = self._queue(function_id)
        return None if queue is None else queue.definition.retry_policy

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
            self.roster.retire(task)
        self._staff(queue)

    def _staff(self, queue: Queue) -> None:
        """Start as many attempts as what waits needs, and as the function and this machine allow."""
        if self.roster.is_closing or queue.function.app_id in self._stopped_apps:
            return
        working = [task for task in queue.tasks.values() if not task.ending and not (queue.is_single_use and task.used)]
        free = sum(queue.capacity - len(task.running) for task in working)
        wanted = math.ceil((len(queue.pending) - free) / queue.capacity)
        declared = queue.definition.concurrency_limit or queue.definition.autoscaler_settings.max_containers
        most = min(declared or self._settings.max_containers, self._settings.max_containers)
        for _ in range(min(wanted, most - len(queue.tasks))):
            self.roster.add(queue)

    def _replace(self, task: Task, end: AttemptEnd, ending: str) -> None:
        """Judge what an attempt that is gone left behind, and start another where inputs wait."""
        queue = self._queues[task.function_id]
        queue.tasks.pop(task.id, None)
        self._bury(task, queue, end, ending)
        self._staff(queue)
        self._forget(queue)
        self._on_progress(task.app_id)

    def _forget(self, queue: Queue) -> None:
        if queue.function.app_id in self._stopped_apps and not queue.tasks:
            self._queues.pop(queue.function.id, None)

    def _bury(self, task: Task, queue: Queue, end: AttemptEnd, ending: str) -> None:
        held = self._release_all(task)
        if self.roster.is_closing:
            return  # they stay open, and run again under the next plane
        if task.init_result is None and not task.started_at and task.ending not in {"preempted", "app stopped"}:
            task.init_result = failure(f"The container {told(end)} before it took its first input")
        if task.init_result is not None:  # every input would meet the same end; each counts it as one failure
            waiting, queue.pending = list(queue.pending), deque()
            for input_id in [*held, *waiting]:
                self._verdicts.judge(input_id, Outcome(result=task.init_result, task_id=task.id))
        elif task.ending == "preempted":
            queue.pending.extendleft(reversed(held))
        else:
            result = failure(f"The container {ending} while it worked on the input")
            for input_id in held:
                self._verdicts.judge(input_id, Outcome(result=result, task_id=task.id))

    # Inputs at attempts

    def _begin(self, task: Task) -> None:
        task.started_at = time.time()
        task.idle_since = time.monotonic()
        self._state.history.start_task(task.id)
        self._journal.state(task, api_pb2.TASK_STATE_ACTIVE)

    def _assign(self, task: Task, queue: Queue, input_id: str) -> None:
        row = self._state.history.input(input_id)
        if row is None or row["entry"] is not None:
            return  # cancelled, or its app was stopped
        self._state.history.count_attempt(input_id)
        timeout_s = queue.definition.timeout_secs or DEFAULT_TIMEOUT_S
        scaled_s = self._settings.scaled(timeout_s)
        timer = asyncio.get_running_loop().call_later(scaled_s, self._timeout, task, input_id, timeout_s)
        task.used = True
        task.running[input_id] = Running(input_id=input_id, call_id=row["call_id"], started_at=time.time(), timer=timer)

    def _release(self, task: Task, input_id: str) -> Running | None:
        running = task.running.pop(input_id, None)
        if running is not None:
            running.timer.cancel()
            task.idle_since = time.monotonic()
        return running

    def _release_all(self, task: Task) -> list[str]:
        held = list(task.running)
        for input_id in held:
            self._release(task, input_id)
        return held

    def _timeout(self, task: Task, input_id: str, timeout_s: float) -> None:
        """End an attempt whose input took too long; what else it worked on runs again."""
        if self._release(task, input_id) is None:
            return
        what = f"Task's current input hit its timeout of {timeout_s:g}s"
        self._journal.write(task, LogStream.SYSTEM, f"{what}: {input_id}\n")
        self._queues[task.function_id].pending.extendleft(reversed(self._release_all(task)))
        self.roster.end(task, "timeout")
        result = Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=what)
        self._verdicts.judge(input_id, Outcome(result=result, task_id=task.id))

    def _idle_window_s(self, queue: Queue) -> float:
        return self._settings.scaled(queue.definition.task_idle_timeout_secs or _DEFAULT_IDLE_S)
