"""What attempts print and what happens to them, kept for the client's terminal and for `modal app logs`."""

from __future__ import annotations

from typing import Final

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import LogStream
from trimtab.emulation.modal.bell import Bell
from trimtab.emulation.modal.history import History, LogLine
from trimtab.emulation.modal.tasks import Task

STREAMS: Final = {
    LogStream.STDOUT: api_pb2.FILE_DESCRIPTOR_STDOUT,
    LogStream.STDERR: api_pb2.FILE_DESCRIPTOR_STDERR,
    LogStream.SYSTEM: api_pb2.FILE_DESCRIPTOR_INFO,
}


class KeptJournal:
    """Writes into the history, and wakes who reads an app's logs."""

    def __init__(self, history: History, bell: Bell) -> None:
        """Write into this history, and ring this bell."""
        self._history = history
        self._bell = bell

    def write(self, task: Task, stream: LogStream, text: str) -> None:
        """Keep a piece of output of an attempt, with the call that it works on if there is only one."""
        calls = {running.call_id for running in task.running.values()}
        self._add(task, calls.pop() if len(calls) == 1 else "", stream=STREAMS[stream], state=0, data=text)

    def state(self, task: Task, state: api_pb2.TaskState.ValueType) -> None:
        """Keep that an attempt came into a state."""
        self._add(task, "", stream=0, state=state, data="")

    def _add(self, task: Task, call_id: str, *, stream: int, state: int, data: str) -> None:
        self._history.add_log(
            app_id=task.app_id,
            function_id=task.function_id,
            call_id=call_id,
            task_id=task.id,
            stream=stream,
            state=state,
            data=data,
        )
        self._bell.ring(f"log:{task.app_id}")


def batch(line: LogLine) -> api_pb2.TaskLogsBatch:
    """Return a line as the client reads it."""
    item = api_pb2.TaskLogs(
        data=line.data,
        timestamp=line.at,
        timestamp_ns=int(line.at * 1e9),
        file_descriptor=api_pb2.FileDescriptor.ValueType(line.stream),
        task_state=api_pb2.TaskState.ValueType(line.state),
        function_call_id=line.call_id,
    )
    return api_pb2.TaskLogsBatch(
        task_id=line.task_id,
        function_id=line.function_id,
        root_function_id=line.function_id,
        entry_id=str(line.seq),
        items=[item],
    )
