"""Calls about Volumes: finding and making them, their files, and commit and reload from containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import VolumeBusyError, VolumeEntry
from trimtab.emulation.modal.definitions import Volume, new_id
from trimtab.emulation.modal.handles import volume_metadata
from trimtab.emulation.modal.names import found_or_made, page_of, record_of
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, denied, not_found

_BLOCK_BYTES: Final = 8 * 1024 * 1024  # the client cuts files into such blocks


def volume_of(plane: Plane, caller: Caller, volume_id: str) -> Volume:
    """Return a Volume that the caller may use: a person any, an attempt those of its app."""
    volume = record_of(plane, Volume, volume_id)
    if caller.task is not None and volume_id not in plane.volume_ids_of(caller.app_id):
        raise denied(
            f"Volume {volume.name or volume_id!r} is not mounted by any function of this app, so its containers may "
            "not use it; mount it with volumes={...}"
        )
    return volume


@answers(who=Who.BOTH)
async def volume_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.VolumeGetOrCreateRequest
) -> api_pb2.VolumeGetOrCreateResponse:
    """Find a Volume by name, or make one."""
    found, is_new = found_or_made(
        plane,
        Volume,
        request,
        lambda name: Volume(
            id=new_id("vo"), name=name, app_id=request.app_id or caller.app_id, version=request.version
        ),
    )
    if is_new:
        await plane.execution.volumes.create(found.id)
        plane.state.put(found)
    else:
        volume_of(plane, caller, found.id)
    metadata = volume_metadata(found)
    return api_pb2.VolumeGetOrCreateResponse(volume_id=found.id, version=metadata.version, metadata=metadata)


@answers(who=Who.BOTH)
async def volume_get_by_id(
    plane: Plane, caller: Caller, request: api_pb2.VolumeGetByIdRequest
) -> api_pb2.VolumeGetByIdResponse:
    """Find a Volume by its id."""
    volume = volume_of(plane, caller, request.volume_id)
    return api_pb2.VolumeGetByIdResponse(volume_id=volume.id, metadata=volume_metadata(volume))


@answers(who=Who.BOTH)
async def volume_heartbeat(plane: Plane, caller: Caller, request: Any) -> None:
    """Hear that an unnamed Volume is in use."""


@answers(who=Who.CLIENT)
async def volume_list(plane: Plane, caller: Caller, request: api_pb2.VolumeListRequest) -> api_pb2.VolumeListResponse:
    """List the Volumes that have names, youngest first."""
    return api_pb2.VolumeListResponse(
        environment_name=plane.settings.environment,
        items=[
            api_pb2.VolumeListItem(
                label=volume.name,
                volume_id=volume.id,
                created_at=volume.created_at,
                metadata=volume_metadata(volume),
            )
            for volume in page_of(plane, Volume, request.pagination)
        ],
    )


@answers(who=Who.CLIENT)
async def volume_rename(plane: Plane, caller: Caller, request: api_pb2.VolumeRenameRequest) -> None:
    """Give a Volume another name."""
    volume = volume_of(plane, caller, request.volume_id)
    if plane.state.find(Volume, request.name) is not None:
        raise GRPCError(Status.ALREADY_EXISTS, f"Volume {request.name!r} already exists")
    volume.name = request.name
    plane.state.put(volume)


@answers(who=Who.CLIENT)
async def volume_delete(plane: Plane, caller: Caller, request: api_pb2.VolumeDeleteRequest) -> None:
    """Delete a Volume with all that it holds."""
    volume = volume_of(plane, caller, request.volume_id)
    await plane.execution.volumes.delete(volume.id)
    plane.state.remove(volume)


@answers(who=Who.CONTAINER)
async def volume_commit(
    plane: Plane, caller: Caller, request: api_pb2.VolumeCommitRequest
) -> api_pb2.VolumeCommitResponse:
    """Make what an attempt wrote visible to others."""
    volume = volume_of(plane, caller, request.volume_id)
    await plane.execution.volumes.commit(caller.attempt.id, volume.id)
    return api_pb2.VolumeCommitResponse(skip_reload=True)


@answers(who=Who.CONTAINER)
async def volume_reload(plane: Plane, caller: Caller, request: api_pb2.VolumeReloadRequest) -> None:
    """Show an attempt what others committed; refused while it has files of the Volume open."""
    volume = volume_of(plane, caller, request.volume_id)
    try:
        await plane.execution.volumes.reload(caller.attempt.id, volume.id)
    except VolumeBusyError as error:
        raise GRPCError(
            Status.FAILED_PRECONDITION, f"there are open files preventing the operation: {error.why}"
        ) from error


async def _list(plane: Plane, caller: Caller, request: Any) -> list[api_pb2.FileEntry]:
    volume = volume_of(plane, caller, request.volume_id)
    path = _inside(request.path)
    try:
        found = await plane.execution.volumes.entries(volume.id, path, recursive=request.recursive)
    except FileNotFoundError as error:
        raise not_found(f"No such file or directory: {request.path!r}") from error
    entries = [_entry(entry) for entry in found]
    return entries[: request.max_entries] if request.HasField("max_entries") else entries


def _entry(entry: VolumeEntry) -> api_pb2.FileEntry:
    kind = api_pb2.FileEntry.DIRECTORY if entry.is_dir else api_pb2.FileEntry.FILE
    return api_pb2.FileEntry(path=entry.path, type=kind, mtime=int(entry.modified_s), size=entry.size_bytes)


def _inside(path: str) -> str:
    return path.strip("/")


@answers(who=Who.BOTH)
async def volume_list_files(
    plane: Plane, caller: Caller, request: api_pb2.VolumeListFilesRequest
) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
    """List files of a Volume, version 1."""
    yield api_pb2.VolumeListFilesResponse(entries=await _list(plane, caller, request))


@answers(who=Who.BOTH)
async def volume_list_files2(
    plane: Plane, caller: Caller, request: api_pb2.VolumeListFiles2Request
) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
    """List files of a Volume, version 2."""
    yield api_pb2.VolumeListFiles2Response(entries=await _list(plane, caller, request))


@answers(who=Who.BOTH)
async def volume_get_file2(
    plane: Plane, caller: Caller, request: api_pb2.VolumeGetFile2Request
) -> api_pb2.VolumeGetFile2Response:
    """Give the addresses of a file's blocks."""
    volume = volume_of(plane, caller, request.volume_id)
    try:
        path = await plane.execution.volumes.open_file(volume.id, _inside(request.path))
    except FileNotFoundError as error:
        raise not_found(f"No such file: {request.path!r}") from error
    size = path.stat().st_size
    start = min(request.start, size)
    length = min(request.len or size, size - start)
    urls = []
    position = start
    while position < start + length:
        end = min(start + length, (position // _BLOCK_BYTES + 1) * _BLOCK_BYTES)
        urls.append(plane.address("/file", name=_hex(str(path)), start=position, end=end))
        position = end
    return api_pb2.VolumeGetFile2Response(get_urls=urls, size=size, start=start, len=length)


def _hex(text: str) -> str:
    return text.encode().hex()  # in a query it needs no quoting


async def _require_new(plane: Plane, volume: Volume, paths: list[str]) -> None:
    for path in paths:
        try:
            await plane.execution.volumes.entries(volume.id, path, recursive=False)
        except FileNotFoundError:
            continue
        raise GRPCError(Status.ALREADY_EXISTS, f"{path}: already exists; --force writes over it")


@answers(who=Who.BOTH)
async def volume_put_files(plane: Plane, caller: Caller, request: api_pb2.VolumePutFilesRequest) -> None:
    """Write files that were sent before, version 1."""
    volume = volume_of(plane, caller, request.volume_id)
    if request.disallow_overwrite_existing_files:
        await _require_new(plane, volume, [_inside(file.filename) for file in request.files])
    for file in request.files:
        content = plane.files_dir / file.sha256_hex
        if not file.sha256_hex.isalnum() or not content.is_file():
            raise not_found(f"{file.filename}: its content was not sent")
        await plane.execution.volumes.put_file(volume.id, _inside(file.filename), content, file.mode or 0o644)


@answers(who=Who.BOTH)
async def volume_put_files2(
    plane: Plane, caller: Caller, request: api_pb2.VolumePutFiles2Request
) -> api_pb2.VolumePutFiles2Response:
    """Write files of blocks, version 2; names the blocks that are still to be sent."""
    volume = volume_of(plane, caller, request.volume_id)
    if request.disallow_overwrite_existing_files:
        await _require_new(plane, volume, [_inside(file.path) for file in request.files])
    response = api_pb2.VolumePutFiles2Response()
    for index, file in enumerate(request.files):
        for number, block in enumerate(file.blocks):
            digest = block.contents_sha256.hex()
            if not plane.has_file(digest):
                url = plane.address(f"/block/{digest}")
                response.missing_blocks.add(file_index=index, block_index=number, put_url=url)
    if not response.missing_blocks:
        for file in request.files:
            whole = plane.blobs_dir / new_id("bl")
            with whole.open("wb") as out:
                for block in file.blocks:
                    out.write((plane.files_dir / block.contents_sha256.hex()).read_bytes())
                out.truncate(file.size)
            await plane.execution.volumes.put_file(volume.id, _inside(file.path), whole, file.mode or 0o644)
            whole.unlink()
    return response


async def _remove(plane: Plane, caller: Caller, request: Any) -> None:
    volume = volume_of(plane, caller, request.volume_id)
    try:
        await plane.execution.volumes.remove(volume.id, _inside(request.path), recursive=request.recursive)
    except FileNotFoundError as error:
        raise not_found(f"No such file or directory: {request.path!r}") from error
    except IsADirectoryError as error:
        raise GRPCError(
            Status.INVALID_ARGUMENT, f"{request.path!r} is a directory; use recursive=True (-r) to remove it"
        ) from error


@answers(who=Who.BOTH)
async def volume_remove_file(plane: Plane, caller: Caller, request: api_pb2.VolumeRemoveFileRequest) -> None:
    """Remove a file or a folder, version 1."""
    await _remove(plane, caller, request)


@answers(who=Who.BOTH)
async def volume_remove_file2(plane: Plane, caller: Caller, request: api_pb2.VolumeRemoveFile2Request) -> None:
    """Remove a file or a folder, version 2."""
    await _remove(plane, caller, request)


async def _copy(plane: Plane, caller: Caller, request: Any) -> None:
    volume = volume_of(plane, caller, request.volume_id)
    sources = tuple(_inside(path) for path in request.src_paths)
    try:
        await plane.execution.volumes.copy(volume.id, sources, _inside(request.dst_path), recursive=request.recursive)
    except FileNotFoundError as error:
        raise not_found(f"No such file or directory: {error}") from error


@answers(who=Who.BOTH)
async def volume_copy_files(plane: Plane, caller: Caller, request: api_pb2.VolumeCopyFilesRequest) -> None:
    """Copy within a Volume, version 1."""
    await _copy(plane, caller, request)


@answers(who=Who.BOTH)
async def volume_copy_files2(plane: Plane, caller: Caller, request: api_pb2.VolumeCopyFiles2Request) -> None:
    """Copy within a Volume, version 2."""
    await _copy(plane, caller, request)
