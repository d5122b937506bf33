"""What a client's handles hold: of functions, of classes, of Volumes. Pure: from definitions to messages."""

from __future__ import annotations

from typing import Any

from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import Function, Record, Volume


def function_metadata(function_id: str, app_id: str, function: Any) -> api_pb2.FunctionHandleMetadata:
    """Return a function's handle, from what FunctionPrecreate or FunctionCreate sent."""
    metadata = api_pb2.FunctionHandleMetadata(
        function_name=function.function_name,
        function_type=function.function_type,
        function_schema=function.function_schema,
        supported_input_formats=function.supported_input_formats,
        supported_output_formats=function.supported_output_formats,
        definition_id=f"de-{function_id[3:]}",
        app_id=app_id,
    )
    for name, method in function.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(
            api_pb2.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                is_method=True,
                use_method_name=name,
                definition_id=metadata.definition_id,
                function_schema=method.function_schema,
                supported_input_formats=method.supported_input_formats,
                supported_output_formats=method.supported_output_formats,
            )
        )
    if isinstance(function, api_pb2.Function):
        metadata.class_parameter_info.CopyFrom(function.class_parameter_info)
        metadata.is_method = function.is_method
    return metadata


def function_data(definition: api_pb2.Function) -> api_pb2.FunctionData:
    """Return what `Function.info()` reads."""
    data = api_pb2.FunctionData(
        module_name=definition.module_name,
        function_name=definition.function_name,
        function_type=definition.function_type,
        warm_pool_size=definition.warm_pool_size,
        concurrency_limit=definition.concurrency_limit,
        task_idle_timeout_secs=definition.task_idle_timeout_secs,
        autoscaler_settings=definition.autoscaler_settings,
        timeout_secs=definition.timeout_secs,
        startup_timeout_secs=definition.startup_timeout_secs,
        is_class=definition.is_class,
        class_parameter_info=definition.class_parameter_info,
        is_method=definition.is_method,
        method_definitions=definition.method_definitions,
        method_definitions_set=True,
        schedule=definition.schedule,
        function_schema=definition.function_schema,
        supported_input_formats=definition.supported_input_formats,
        supported_output_formats=definition.supported_output_formats,
        ranked_functions=[api_pb2.FunctionData.RankedFunction(rank=0, function=definition)],
    )
    if not definition.HasField("schedule"):
        data.ClearField("schedule")
    return data


def definition_of(function: Function) -> api_pb2.Function:
    """Return what a client sent of a function."""
    definition = api_pb2.Function()
    definition.ParseFromString(function.definition)
    return definition


def metadata_of(function: Function) -> api_pb2.FunctionHandleMetadata:
    """Return the handle that was kept with a function."""
    metadata = api_pb2.FunctionHandleMetadata()
    metadata.ParseFromString(function.metadata)
    return metadata


def created(record: Record) -> api_pb2.CreationInfo:
    """Tell when something was made."""
    return api_pb2.CreationInfo(created_at=record.created_at)


def volume_metadata(volume: Volume) -> api_pb2.VolumeMetadata:
    """Return what the handle of a Volume holds."""
    second = api_pb2.VOLUME_FS_VERSION_V2
    version = second if volume.version == second else api_pb2.VOLUME_FS_VERSION_V1
    return api_pb2.VolumeMetadata(version=version, name=volume.name, creation_info=created(volume))
