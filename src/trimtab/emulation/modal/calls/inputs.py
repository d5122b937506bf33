"""Calls about calls: handing in inputs, fetching outputs, cancelling; for the caller's side."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from sqlite3 import Row
from typing import Any, Final

from modal_proto import api_pb2

from trimtab.emulation.modal.calls.functions import callable_by, function_of, require_running
from trimtab.emulation.modal.definitions import Function, new_id
from trimtab.emulation.modal.handles import definition_of
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, denied, not_found

_MAX_OUTSTANDING: Final = 1000  # what Modal says too; a client sends no more inputs before it has outputs
_MAX_IDX: Final = 2**31 - 1
_MAX_OUTPUTS: Final = 100
_MAX_OUTPUT_BYTES: Final = 32 * 1024 * 1024
_STREAM_S: Final = 55.0

Status = api_pb2.GenericResult


def call_of(plane: Plane, caller: Caller, call_id: str) -> Row:
    """Return a call that the caller may see: its app's own, or one that it made. Raises NOT_FOUND, DENIED."""
    row = plane.state.history.call(call_id)
    if row is None:
        raise not_found(f"Function call {call_id!r} not found")
    if caller.task is not None and caller.app_id not in {row["app_id"], row["caller_app_id"]}:
        raise denied(f"Function call {call_id} belongs to another app")
    return row


def enter(
    plane: Plane, function: Function, inputs: list[tuple[int, bytes]], *, call_id: str
) -> list[api_pb2.FunctionPutInputsResponseItem]:
    """Keep inputs of a call, and let them run."""
    named = [(new_id("in"), idx, body) for idx, body in inputs]
    plane.state.history.add_inputs(call_id, named)
    plane.scheduler.submit(function.id, [input_id for input_id, _, _ in named])
    return [
        api_pb2.FunctionPutInputsResponseItem(idx=idx, input_id=input_id, input_jwt=input_id)
        for input_id, idx, _ in named
    ]


def open_call(plane: Plane, function: Function, *, caller_app_id: str, is_map: bool, invocation: int) -> str:
    """Note a call of a function; return its id."""
    require_running(plane, function)
    call_id = new_id("fc")
    plane.state.history.add_call(
        call_id,
        function_id=function.id,
        app_id=function.app_id,
        caller_app_id=caller_app_id,
        is_map=is_map,
        invocation=invocation,
    )
    return call_id


def _bodies(items: Any) -> list[tuple[int, bytes]]:
    return [(item.idx, item.input.SerializeToString()) for item in items]


@answers(who=Who.BOTH)
async def function_map(
    plane: Plane, caller: Caller, request: api_pb2.FunctionMapRequest
) -> api_pb2.FunctionMapResponse:
    """Begin a call: `remote`, `spawn`, `map`, `starmap`."""
    function = callable_by(plane, caller, request.function_id)
    call_id = open_call(
        plane,
        function,
        caller_app_id=caller.app_id,
        is_map=request.function_call_type == api_pb2.FUNCTION_CALL_TYPE_MAP,
        invocation=request.function_call_invocation_type,
    )
    return api_pb2.FunctionMapResponse(
        function_call_id=call_id,
        function_call_jwt=call_id,
        pipelined_inputs=enter(plane, function, _bodies(request.pipelined_inputs), call_id=call_id),
        retry_policy=definition_of(function).retry_policy,
        sync_client_retries_enabled=False,  # the plane repeats: then a call goes on when its client has left
        max_inputs_outstanding=_MAX_OUTSTANDING,
    )


@answers(who=Who.BOTH)
async def function_put_inputs(
    plane: Plane, caller: Caller, request: api_pb2.FunctionPutInputsRequest
) -> api_pb2.FunctionPutInputsResponse:
    """Take more inputs of a call."""
    row = call_of(plane, caller, request.function_call_id)
    function = function_of(plane, row["function_id"])
    return api_pb2.FunctionPutInputsResponse(
        inputs=enter(plane, function, _bodies(request.inputs), call_id=request.function_call_id)
    )


@answers(who=Who.BOTH)
async def function_finish_inputs(plane: Plane, caller: Caller, request: api_pb2.FunctionFinishInputsRequest) -> None:
    """Hear that a `spawn_map` has sent all of its inputs."""
    call_of(plane, caller, request.function_call_id)


@answers(who=Who.BOTH)
async def function_get_outputs(
    plane: Plane, caller: Caller, request: api_pb2.FunctionGetOutputsRequest
) -> api_pb2.FunctionGetOutputsResponse:
    """Return outputs as they come; waits for some, as long as it is asked to."""
    call_id = request.function_call_id
    call_of(plane, caller, call_id)
    after = int(request.last_entry_id.partition("-")[0] or 0)
    first = request.start_idx if request.HasField("start_idx") else 0
    last = request.end_idx if request.HasField("end_idx") else _MAX_IDX
    deadline = time.monotonic() + min(request.timeout, _STREAM_S)
    limit = request.max_values or _MAX_OUTPUTS
    while True:
        found = plane.state.history.outputs(call_id, after=after, first=first, last=last, limit=limit)
        left_s = deadline - time.monotonic()
        if found or left_s <= 0 or not plane.state.history.unfinished(call_id):
            break
        await plane.bell.wait(call_id, left_s)
    response = api_pb2.FunctionGetOutputsResponse(last_entry_id=request.last_entry_id)
    size = 0
    for entry, output in found:
        size += len(output)
        if response.outputs and size > _MAX_OUTPUT_BYTES:
            break
        response.outputs.append(api_pb2.FunctionGetOutputsItem.FromString(output))
        response.last_entry_id = f"{entry}-0"
    if not found and request.timeout and not plane.state.history.unfinished(call_id):
        # a map that has not sent its inputs yet: without a pause its client would ask without end
        await plane.bell.wait(call_id, min(0.05, request.timeout))
    response.num_unfinished_inputs = plane.state.history.unfinished(call_id)
    if request.clear_on_success and (response.outputs or not request.timeout):
        plane.state.history.clear_outputs(call_id)
    return response


@answers(who=Who.BOTH)
async def function_call_from_id(
    plane: Plane, caller: Caller, request: api_pb2.FunctionCallFromIdRequest
) -> api_pb2.FunctionCallFromIdResponse:
    """Find a call by its id, from any process."""
    row = call_of(plane, caller, request.function_call_id)
    return api_pb2.FunctionCallFromIdResponse(
        function_call_id=row["id"],
        num_inputs=sum(plane.state.history.statuses(row["id"]).values()),
        metadata=api_pb2.FunctionCallHandleMetadata(app_id=row["app_id"], function_id=row["function_id"]),
    )


def _info(plane: Plane, row: Row) -> api_pb2.FunctionCallInfo:
    counts = plane.state.history.statuses(row["id"])
    known: dict[int | None, str] = {
        None: "pending",
        Status.GENERIC_STATUS_SUCCESS: "succeeded",
        Status.GENERIC_STATUS_TIMEOUT: "timeout",
        Status.GENERIC_STATUS_TERMINATED: "cancelled",
    }
    info = api_pb2.FunctionCallInfo(
        function_call_id=row["id"], created_at=row["created_at"], total_inputs=sum(counts.values())
    )
    for status, count in counts.items():
        getattr(info, f"{known.get(status, 'failed')}_inputs").total += count
    return info


@answers(who=Who.BOTH)
async def function_call_get_info(
    plane: Plane, caller: Caller, request: api_pb2.FunctionCallGetInfoRequest
) -> api_pb2.FunctionCallGetInfoResponse:
    """Count a call's inputs by how they ended."""
    return api_pb2.FunctionCallGetInfoResponse(info=_info(plane, call_of(plane, caller, request.function_call_id)))


@answers(who=Who.CLIENT)
async def function_call_list(
    plane: Plane, caller: Caller, request: api_pb2.FunctionCallListRequest
) -> api_pb2.FunctionCallListResponse:
    """List the calls of a function."""
    calls = [_info(plane, row) for row in plane.state.history.calls_of(request.function_id)]
    return api_pb2.FunctionCallListResponse(function_calls=calls)


@answers(who=Who.BOTH)
async def function_call_cancel(plane: Plane, caller: Caller, request: api_pb2.FunctionCallCancelRequest) -> None:
    """Cancel what a call has not finished; with `terminate_containers`, the containers that work on it too."""
    call_of(plane, caller, request.function_call_id)
    plane.scheduler.cancel_call(request.function_call_id, terminate=request.terminate_containers)


@answers(who=Who.BOTH)
async def function_call_get_data_out(
    plane: Plane, caller: Caller, request: api_pb2.FunctionCallGetDataRequest
) -> AsyncIterator[api_pb2.DataChunk]:
    """Stream what a generator yields."""
    call_of(plane, caller, request.function_call_id)
    after = request.last_index
    deadline = time.monotonic() + _STREAM_S
    while time.monotonic() < deadline:
        chunks = plane.state.history.chunks(request.function_call_id, after=after)
        for index, body in chunks:
            yield api_pb2.DataChunk.FromString(body)
            after = index
        if not chunks:
            await plane.bell.wait(f"chunk:{request.function_call_id}", deadline - time.monotonic())
