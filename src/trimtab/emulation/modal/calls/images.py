"""Calls about images: the chain of layers that a client defines, and the building of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from typing import Final

from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import Image, new_id
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found, unsupported

_JOIN_S: Final = 50.0

Status = api_pb2.GenericResult


def _metadata(image: Image) -> api_pb2.ImageMetadata:
    return api_pb2.ImageMetadata(image_builder_version=image.builder_version)


@answers(who=Who.CLIENT)
async def image_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.ImageGetOrCreateRequest
) -> api_pb2.ImageGetOrCreateResponse:
    """Take an image's definition, and begin to build it; the same definition is the same image."""
    if request.build_function_id or request.image.HasField("build_function"):
        raise unsupported("Image.run_function makes a layer by running code; put the command into run_commands")
    definition = request.image
    for file in definition.context_files:
        file.data = plane.keep_file(file.data).encode()
    words = definition.SerializeToString(deterministic=True) + request.builder_version.encode()
    digest = hashlib.sha256(words).hexdigest()
    image = None if request.force_build else plane.state.find(Image, digest)
    if image is None:
        image = Image(
            id=new_id("im"),
            name=digest,
            definition=definition.SerializeToString(deterministic=True),
            builder_version=request.builder_version,
        )
    image.used_at = time.time()
    plane.state.put(image)
    build = plane.build(plane.descriptions.image(image.id))
    response = api_pb2.ImageGetOrCreateResponse(image_id=image.id)
    if build.result is not None and build.result.status == Status.GENERIC_STATUS_SUCCESS:
        response.result.CopyFrom(build.result)
        response.metadata.CopyFrom(_metadata(image))
    return response


@answers(who=Who.CLIENT)
async def image_join_streaming(
    plane: Plane, caller: Caller, request: api_pb2.ImageJoinStreamingRequest
) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
    """Stream what the building of an image says, and how it ended."""
    image = _image(plane, request.image_id)
    build = plane.builds.get(image.id) or plane.build(plane.descriptions.image(image.id))
    said = int(request.last_entry_id or 0)
    deadline = time.monotonic() + min(request.timeout or _JOIN_S, _JOIN_S)
    while True:
        lines, ended = build.lines[said:], build.result
        if lines:
            said += len(lines)
            logs = [
                api_pb2.TaskLogs(data=text, file_descriptor=api_pb2.FileDescriptor.ValueType(stream))
                for stream, text in lines
            ]
            yield api_pb2.ImageJoinStreamingResponse(task_logs=logs, entry_id=str(said))
        elif ended is not None:
            yield api_pb2.ImageJoinStreamingResponse(result=ended, eof=True, metadata=_metadata(image))
            return
        elif time.monotonic() > deadline:
            return
        else:
            await plane.bell.wait(image.id, deadline - time.monotonic())


@answers(who=Who.BOTH)
async def image_from_id(
    plane: Plane, caller: Caller, request: api_pb2.ImageFromIdRequest
) -> api_pb2.ImageFromIdResponse:
    """Find an image by its id."""
    image = _image(plane, request.image_id)
    return api_pb2.ImageFromIdResponse(image_id=image.id, metadata=_metadata(image))


def _image(plane: Plane, image_id: str) -> Image:
    image = plane.state.get(Image, image_id)
    if image is None:
        raise not_found(f"Image {image_id!r} not found")
    return image
