"""Calls of attempts: asking for inputs, handing in outputs, saying how they are; and of people about attempts."""

from __future__ import annotations

from typing import Any, Final

from modal_proto import api_pb2

from trimtab.emulation.modal.calls.inputs import call_of
from trimtab.emulation.modal.definitions import App
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found
from trimtab.emulation.modal.tasks import Task

_HEARTBEAT_S: Final = 14.0  # the container's patience is 15.1 s


@answers(who=Who.CONTAINER)
async def container_hello(plane: Plane, caller: Caller, request: Any) -> None:
    """Greet an attempt whose token is right."""


@answers(who=Who.CONTAINER)
async def container_heartbeat(
    plane: Plane, caller: Caller, request: api_pb2.ContainerHeartbeatRequest
) -> api_pb2.ContainerHeartbeatResponse:
    """Tell an attempt which of its inputs were cancelled, as soon as they are."""
    response = api_pb2.ContainerHeartbeatResponse()
    cancelled = await plane.scheduler.wait_for_cancellation(caller.attempt, _HEARTBEAT_S)
    if cancelled:
        response.cancel_input_event.input_ids.extend(sorted(cancelled))
    return response


@answers(who=Who.CONTAINER)
async def function_get_inputs(
    plane: Plane, caller: Caller, request: api_pb2.FunctionGetInputsRequest
) -> api_pb2.FunctionGetInputsResponse:
    """Hand an attempt its next inputs, or the sign to end."""
    task = caller.attempt
    taken = await plane.scheduler.take(task, most=request.batch_max_size, linger_s=request.batch_linger_ms / 1000)
    response = api_pb2.FunctionGetInputsResponse()
    if taken is None:
        response.inputs.add(kill_switch=True)
        return response
    for input_id in taken:
        row = plane.state.history.input(input_id)
        if row is None:
            continue
        response.inputs.add(
            input_id=input_id,
            input=api_pb2.FunctionInput.FromString(row["body"]),
            function_call_id=row["call_id"],
            function_call_invocation_type=row["invocation"],
            retry_count=row["failures"],
            function_map_idx=row["idx"],
        )
    return response


@answers(who=Who.CONTAINER)
async def function_put_outputs(plane: Plane, caller: Caller, request: api_pb2.FunctionPutOutputsRequest) -> None:
    """Take results, or the exceptions with their tracebacks."""
    for output in request.outputs:
        plane.scheduler.report(caller.attempt, output)


@answers(who=Who.CONTAINER)
async def function_call_put_data_out(plane: Plane, caller: Caller, request: api_pb2.FunctionCallPutDataRequest) -> None:
    """Take what a generator yields."""
    call_of(plane, caller, request.function_call_id)
    chunks = [(chunk.index, chunk.SerializeToString()) for chunk in request.data_chunks]
    plane.state.history.add_chunks(request.function_call_id, chunks)
    plane.bell.ring(f"chunk:{request.function_call_id}")


@answers(who=Who.CONTAINER)
async def task_result(plane: Plane, caller: Caller, request: api_pb2.TaskResultRequest) -> None:
    """Hear that an attempt could not load its function."""
    plane.scheduler.fail_to_start(caller.attempt, request.result)


@answers(who=Who.CONTAINER)
async def task_current_inputs(plane: Plane, caller: Caller, request: Any) -> api_pb2.TaskCurrentInputsResponse:
    """Tell an attempt which inputs it works on."""
    return api_pb2.TaskCurrentInputsResponse(input_ids=list(caller.attempt.running))


@answers(who=Who.CONTAINER)
async def function_get_dynamic_concurrency(
    plane: Plane, caller: Caller, request: Any
) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
    """Tell an attempt how many inputs to take at a time: as many as its function may."""
    return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)


@answers(who=Who.BOTH)
async def container_stop(
    plane: Plane, caller: Caller, request: api_pb2.ContainerStopRequest
) -> api_pb2.ContainerStopResponse:
    """Interrupt an attempt, whose inputs run again (`modal container stop`); or let one end itself, `graceful`."""
    if caller.task is not None:
        plane.roster.retire(caller.task)
    else:
        plane.roster.preempt(task_of(plane, request.task_id))
    return api_pb2.ContainerStopResponse()


def task_of(plane: Plane, task_id: str) -> Task:
    """Return an attempt that lives. Raises NOT_FOUND."""
    for task in plane.roster.tasks():
        if task.id == task_id:
            return task
    raise not_found(f"Container {task_id!r} does not run")


@answers(who=Who.CLIENT)
async def task_list(plane: Plane, caller: Caller, request: api_pb2.TaskListRequest) -> api_pb2.TaskListResponse:
    """List the attempts that live, for `modal container list`."""
    response = api_pb2.TaskListResponse()
    for task in plane.roster.tasks(app_id=request.app_id or None):
        app = plane.state.get(App, task.app_id)
        response.tasks.add(
            task_id=task.id,
            app_id=task.app_id,
            app_description=app.description if app is not None else "",
            started_at=task.started_at,
            enqueued_at=task.enqueued_at,
        )
    return response


@answers(who=Who.CLIENT)
async def task_get_info(
    plane: Plane, caller: Caller, request: api_pb2.TaskGetInfoRequest
) -> api_pb2.TaskGetInfoResponse:
    """Tell when an attempt began and ended."""
    row = plane.state.history.task(request.task_id)
    if row is None:
        raise not_found(f"Container {request.task_id!r} not found")
    return api_pb2.TaskGetInfoResponse(
        app_id=row["app_id"],
        info=api_pb2.TaskInfo(
            id=row["id"],
            enqueued_at=row["created_at"],
            started_at=row["started_at"] or 0.0,
            finished_at=row["ended_at"] or 0.0,
        ),
    )
