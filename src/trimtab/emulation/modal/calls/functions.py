"""Calls about functions and classes: defining, finding, and binding parameters."""

from __future__ import annotations

import hashlib

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.calls.apps import app_of, deployed
from trimtab.emulation.modal.definitions import App, Class, Function, new_id
from trimtab.emulation.modal.handles import definition_of, function_data, function_metadata, metadata_of
from trimtab.emulation.modal.limits import refusals
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, denied, invalid, not_found, unsupported


def function_of(plane: Plane, function_id: str) -> Function:
    """Return a function. Raises NOT_FOUND."""
    function = plane.state.get(Function, function_id)
    if function is None:
        raise not_found(f"Function {function_id!r} not found")
    return function


def callable_by(plane: Plane, caller: Caller, function_id: str) -> Function:
    """Return a function that the caller may call: a person any, an attempt its own app's and deployed ones."""
    function = function_of(plane, function_id)
    if caller.task is not None and function.app_id != caller.app_id:
        app = plane.state.get(App, function.app_id)
        if app is None or app.state != api_pb2.APP_STATE_DEPLOYED:
            raise denied(f"Function {function.id} belongs to another app, which is not deployed")
    return function


@answers(who=Who.CLIENT)
async def function_precreate(
    plane: Plane, caller: Caller, request: api_pb2.FunctionPrecreateRequest
) -> api_pb2.FunctionPrecreateResponse:
    """Give a function its id before it is sent, so that others can refer to it."""
    app = app_of(plane, request.app_id)
    function = plane.state.get(Function, request.existing_function_id)
    if function is None:
        function = Function(id=new_id("fu"), app_id=app.id, name=request.function_name)
        plane.state.put(function)
    return api_pb2.FunctionPrecreateResponse(
        function_id=function.id, handle_metadata=function_metadata(function.id, app.id, request)
    )


@answers(who=Who.CLIENT)
async def function_create(
    plane: Plane, caller: Caller, request: api_pb2.FunctionCreateRequest
) -> api_pb2.FunctionCreateResponse:
    """Define a function: code, image, resources, mounts, retries. Refuses what Modal would refuse."""
    definition, ranks = _definition(request)
    app = app_of(plane, request.app_id)
    _require_allowed(definition)
    _require_supported(definition)
    function = plane.state.get(Function, request.existing_function_id)
    if function is None:
        function = Function(id=new_id("fu"), app_id=app.id)
    metadata = function_metadata(function.id, app.id, definition)
    function.name = definition.function_name
    function.definition = definition.SerializeToString(deterministic=True)
    function.metadata = metadata.SerializeToString()
    function.ranks = ranks
    plane.state.put(function)
    return api_pb2.FunctionCreateResponse(
        function_id=function.id,
        function=definition,
        handle_metadata=metadata,
        function_data=function_data(definition),
    )


def _definition(request: api_pb2.FunctionCreateRequest) -> tuple[api_pb2.Function, int]:
    """Return the definition, and how many GPUs it may choose from: of several, the first is wished for most."""
    if request.HasField("function"):
        definition = request.function
    else:
        ranked = sorted(request.function_data.ranked_functions, key=lambda item: item.rank)
        if not ranked:
            raise invalid("The function has no definition")
        definition = ranked[0].function
        for other in ranked[1:]:
            _require_allowed(other.function)
        return definition, len(ranked)
    if request.HasField("schedule") and not definition.HasField("schedule"):
        definition.schedule.CopyFrom(request.schedule)
    return definition, 1


def _require_allowed(definition: api_pb2.Function) -> None:
    wrong = refusals(definition)
    if wrong:
        raise invalid(f"Function {definition.function_name}: " + " ".join(map(str, wrong)))


def _require_supported(definition: api_pb2.Function) -> None:
    if definition.webhook_config.type or any(
        method.webhook_config.type for method in definition.method_definitions.values()
    ):
        raise unsupported(f"{definition.function_name} is a web endpoint, and nothing here listens for the web")
    if definition.is_server:
        raise unsupported(f"{definition.function_name} is a server, and nothing here listens for the web")
    if definition.shared_volume_mounts:
        raise unsupported(f"{definition.function_name} uses a NetworkFileSystem; use a Volume")
    if definition.proxy_id:
        raise unsupported(f"{definition.function_name} uses a Proxy")
    if definition._experimental_group_size > 1:
        raise unsupported(f"{definition.function_name} is a cluster of containers")


@answers(who=Who.CLIENT)
async def class_create(
    plane: Plane, caller: Caller, request: api_pb2.ClassCreateRequest
) -> api_pb2.ClassCreateResponse:
    """Define a class; its function was defined before it."""
    app = app_of(plane, request.app_id)
    known = {record.function_id for record in plane.state.all(Class, app_id=app.id)}
    record = plane.state.get(Class, request.existing_class_id)
    if record is None:
        functions = [
            function
            for function in plane.state.all(Function, app_id=app.id)
            if function.name.endswith(".*") and function.id not in known and not function.base_id
        ]
        if not functions:
            raise invalid("The class has no function")
        record = Class(id=new_id("cs"), app_id=app.id, function_id=functions[0].id)
        plane.state.put(record)
    return api_pb2.ClassCreateResponse(class_id=record.id, handle_metadata=plane.descriptions.class_metadata(record.id))


def _named(plane: Plane, app_name: str) -> App:
    app = deployed(plane, app_name)
    if app is None:
        raise not_found(f"App '{app_name}' not found in environment '{plane.settings.environment}'")
    return app


@answers(who=Who.BOTH)
async def function_get(
    plane: Plane, caller: Caller, request: api_pb2.FunctionGetRequest
) -> api_pb2.FunctionGetResponse:
    """Find a function of a deployed app, for `Function.from_name`."""
    app = _named(plane, request.app_name)
    function_id = app.function_ids.get(request.object_tag)
    if function_id is None:
        raise not_found(f"App '{request.app_name}' has no function '{request.object_tag}'")
    function = function_of(plane, function_id)
    return api_pb2.FunctionGetResponse(
        function_id=function.id, handle_metadata=metadata_of(function), function=function_data(definition_of(function))
    )


@answers(who=Who.BOTH)
async def function_get_by_id(
    plane: Plane, caller: Caller, request: api_pb2.FunctionGetByIdRequest
) -> api_pb2.FunctionGetByIdResponse:
    """Return a function's definition, for `Function.info`."""
    function = callable_by(plane, caller, request.function_id)
    return api_pb2.FunctionGetByIdResponse(
        function=function_data(definition_of(function)), handle_metadata=metadata_of(function)
    )


@answers(who=Who.BOTH)
async def class_get(plane: Plane, caller: Caller, request: api_pb2.ClassGetRequest) -> api_pb2.ClassGetResponse:
    """Find a class of a deployed app, for `Cls.from_name`."""
    app = _named(plane, request.app_name)
    class_id = app.class_ids.get(request.object_tag)
    if class_id is None:
        raise not_found(f"App '{request.app_name}' has no class '{request.object_tag}'")
    return api_pb2.ClassGetResponse(class_id=class_id, handle_metadata=plane.descriptions.class_metadata(class_id))


@answers(who=Who.BOTH)
async def function_bind_params(
    plane: Plane, caller: Caller, request: api_pb2.FunctionBindParamsRequest
) -> api_pb2.FunctionBindParamsResponse:
    """Make the variant of a class or function that has these parameters or options: the same for the same."""
    base = callable_by(plane, caller, request.function_id)
    definition = definition_of(base)
    _apply(definition, request.function_options)
    _require_allowed(definition)
    words = definition.SerializeToString(deterministic=True) + b"\0" + request.serialized_params
    variant_id = "fu-" + hashlib.sha256(base.id.encode() + words).hexdigest()[:22]
    variant = Function(
        id=variant_id,
        app_id=base.app_id,
        name=base.name,
        definition=definition.SerializeToString(deterministic=True),
        metadata=base.metadata,
        base_id=base.id,
        params=request.serialized_params,
    )
    plane.state.put(variant)
    metadata = metadata_of(base)
    metadata.base_function_id = base.id
    return api_pb2.FunctionBindParamsResponse(bound_function_id=variant_id, handle_metadata=metadata)


def _apply(definition: api_pb2.Function, options: api_pb2.FunctionOptions) -> None:
    """Change a definition as `with_options`, `with_concurrency` and `with_batching` say."""
    if options.replace_secret_ids or options.secret_ids:
        del definition.secret_ids[:]
        definition.secret_ids.extend(options.secret_ids)
    if options.replace_volume_mounts or options.volume_mounts:
        del definition.volume_mounts[:]
        definition.volume_mounts.extend(options.volume_mounts)
    if options.replace_cloud_bucket_mounts or options.cloud_bucket_mounts:
        del definition.cloud_bucket_mounts[:]
        definition.cloud_bucket_mounts.extend(options.cloud_bucket_mounts)
    for name in (
        "timeout_secs",
        "concurrency_limit",
        "task_idle_timeout_secs",
        "target_concurrent_inputs",
        "max_concurrent_inputs",
        "batch_max_size",
        "batch_linger_ms",
        "warm_pool_size",
    ):
        if options.HasField(name):
            setattr(definition, name, getattr(options, name))
    if options.HasField("resources"):
        definition.resources.MergeFrom(options.resources)
    if options.HasField("retry_policy"):
        definition.retry_policy.CopyFrom(options.retry_policy)


@answers(who=Who.BOTH)
async def function_get_current_stats(
    plane: Plane, caller: Caller, request: api_pb2.FunctionGetCurrentStatsRequest
) -> api_pb2.FunctionStats:
    """Tell how much waits for a function, and how many containers it has."""
    function = callable_by(plane, caller, request.function_id)
    waiting, tasks, running = plane.scheduler.backlog(function.id)
    return api_pb2.FunctionStats(backlog=waiting, num_total_tasks=tasks, num_running_inputs=running)


@answers(who=Who.CLIENT)
async def function_update_scheduling_params(
    plane: Plane, caller: Caller, request: api_pb2.FunctionUpdateSchedulingParamsRequest
) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
    """Change how many containers a function may have, for `update_autoscaler`."""
    function = function_of(plane, request.function_id)
    definition = definition_of(function)
    definition.autoscaler_settings.MergeFrom(request.settings)
    if request.settings.HasField("max_containers"):
        definition.concurrency_limit = request.settings.max_containers
    if request.settings.HasField("scaledown_window"):
        definition.task_idle_timeout_secs = request.settings.scaledown_window
    function.definition = definition.SerializeToString(deterministic=True)
    plane.state.put(function)
    plane.scheduler.redefine(function.id)
    return api_pb2.FunctionUpdateSchedulingParamsResponse()


def require_running(plane: Plane, function: Function) -> None:
    """Refuse a call to a function whose app is stopped."""
    app = app_of(plane, function.app_id)
    if app.state in {api_pb2.APP_STATE_STOPPED, api_pb2.APP_STATE_STOPPING}:
        raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.id} is stopped: its functions can not be called")
