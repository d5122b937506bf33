"""Calls about output: following an app's, and fetching what it said earlier."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from modal_proto import api_pb2

from trimtab.emulation.modal.calls.apps import app_of
from trimtab.emulation.modal.history import LogLine
from trimtab.emulation.modal.journal import batch
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers

_MAX_STREAM_S: Final = 55.0
_MAX_LINES: Final = 500


def _filter(request: Any) -> Callable[[LogLine], bool]:
    source = getattr(request, "source", 0) or getattr(request, "file_descriptor", 0)

    def wanted(line: LogLine) -> bool:
        return (
            request.function_id in {"", line.function_id}
            and request.function_call_id in {"", line.call_id}
            and request.task_id in {"", line.task_id}
            and (not source or source == line.stream)
            and (not request.search_text or request.search_text in line.data)
        )

    return wanted


@answers(who=Who.CLIENT)
async def app_get_logs(
    plane: Plane, caller: Caller, request: api_pb2.AppGetLogsRequest
) -> AsyncIterator[api_pb2.TaskLogsBatch]:
    """Stream what an app's attempts print, until the app has ended, or its own client has left it detached."""
    wanted = _filter(request)
    ends = {api_pb2.APP_STATE_STOPPED}
    if app_of(plane, request.app_id).state == api_pb2.APP_STATE_DETACHED:  # else its client waits 10 s for the last
        ends.add(api_pb2.APP_STATE_DETACHED_DISCONNECTED)
    after = int(request.last_entry_id or 0)
    deadline = time.monotonic() + min(request.timeout, _MAX_STREAM_S)
    while True:
        has_ended = app_of(plane, request.app_id).state in ends
        lines = plane.state.history.logs(request.app_id, after=after, limit=_MAX_LINES)
        for line in lines:
            after = line.seq
            if wanted(line):
                yield batch(line)
        if has_ended and not lines:
            yield api_pb2.TaskLogsBatch(app_done=True)
            return
        if time.monotonic() > deadline:
            return
        if not lines and not has_ended:
            await plane.bell.wait(f"log:{request.app_id}", deadline - time.monotonic())


@answers(who=Who.CLIENT)
async def app_fetch_logs(
    plane: Plane, caller: Caller, request: api_pb2.AppFetchLogsRequest
) -> api_pb2.AppFetchLogsResponse:
    """Return the last that an app's attempts printed in a time."""
    wanted = _filter(request)
    found: list[LogLine] = []
    since, until = (stamp.ToNanoseconds() / 1e9 for stamp in (request.since, request.until))
    for line in plane.state.history.logs_between(request.app_id, since=since, until=until or time.time()):
        if line.data and wanted(line):
            found.append(line)
        if len(found) == (request.limit or _MAX_LINES):
            break
    return api_pb2.AppFetchLogsResponse(batches=[batch(line) for line in reversed(found)])


@answers(who=Who.CLIENT)
async def app_count_logs(
    plane: Plane, caller: Caller, request: api_pb2.AppCountLogsRequest
) -> api_pb2.AppCountLogsResponse:
    """Count what an app's attempts printed, by time."""
    wanted = _filter(request)
    since, until = (stamp.ToNanoseconds() / 1e9 for stamp in (request.since, request.until))
    width_s = request.bucket_secs or 60
    counts: dict[int, int] = {}
    for line in plane.state.history.logs_between(request.app_id, since=since, until=until):
        if line.data and wanted(line):
            start = int(line.at // width_s * width_s)
            counts[start] = counts.get(start, 0) + 1
    response = api_pb2.AppCountLogsResponse(app_id=request.app_id)
    for start, count in sorted(counts.items()):
        response.buckets.add(stdout_logs=count).bucket_start_at.FromSeconds(start)
    return response
