"""Calls about the files that a client sends: code, and data beside it, each kept once by its SHA-256."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import Mount, new_id
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found

_MAX_NAME: Final = 64  # a SHA-256 in hexadecimal


@answers(who=Who.CLIENT)
async def mount_batched_check_existence(
    plane: Plane, caller: Caller, request: api_pb2.MountBatchedCheckExistenceRequest
) -> api_pb2.MountBatchedCheckExistenceResponse:
    """Tell which files are still to be sent."""
    missing = [digest for digest in request.sha256_hex_hashes if not _is_kept(plane, digest)]
    return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)


@answers(who=Who.BOTH)
async def mount_put_file(
    plane: Plane, caller: Caller, request: api_pb2.MountPutFileRequest
) -> api_pb2.MountPutFileResponse:
    """Take a file, small ones in the call and big ones from a blob; its SHA-256 is checked."""
    kept = _is_kept(plane, request.sha256_hex)
    source = request.WhichOneof("data_oneof")
    if not kept and source == "data":
        _require(plane.keep_file(request.data), request.sha256_hex)
        kept = True
    elif not kept and source == "data_blob_id":
        blob = plane.blobs_dir / _plain(request.data_blob_id)
        if not blob.is_file():
            raise not_found(f"Blob {request.data_blob_id!r} not found")
        _require(plane.keep_file(blob.read_bytes()), request.sha256_hex)
        blob.unlink()
        kept = True
    return api_pb2.MountPutFileResponse(exists=kept)


@answers(who=Who.CLIENT)
async def mount_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.MountGetOrCreateRequest
) -> api_pb2.MountGetOrCreateResponse:
    """Put files together at their paths; those that Modal itself provides by name are empty here."""
    found = plane.state.find(Mount, request.deployment_name) if request.deployment_name else None
    if found is None or request.files:
        found = Mount(
            id=new_id("mo"),
            app_id=request.app_id,
            name=request.deployment_name,
            files=[(_absolute(file.filename), _plain(file.sha256_hex), file.mode) for file in request.files],
        )
        plane.state.put(found)
    return api_pb2.MountGetOrCreateResponse(mount_id=found.id, handle_metadata=api_pb2.MountHandleMetadata())


def _is_kept(plane: Plane, digest: str) -> bool:
    return plane.has_file(_plain(digest))


def _plain(name: str) -> str:
    """Refuse a name that is more than a name: these become names of files."""
    if not name.replace("-", "").isalnum() or len(name) > _MAX_NAME:
        raise GRPCError(Status.INVALID_ARGUMENT, f"{name[:_MAX_NAME]!r} is no digest and no id")
    return name


def _absolute(path: str) -> str:
    """Refuse a path that leads out of where it is put."""
    if ".." in PurePosixPath(path).parts or "\0" in path:
        raise GRPCError(Status.INVALID_ARGUMENT, f"{path!r} is no path for a file")
    return path


def _require(digest: str, announced: str) -> None:
    if digest != announced:
        raise GRPCError(Status.DATA_LOSS, f"a file came with SHA-256 {digest}, announced as {announced}")
