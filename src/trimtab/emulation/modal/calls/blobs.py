"""Calls about what is too big for a call: it goes by HTTP, to and from addresses of the plane on loopback."""

from __future__ import annotations

from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import new_id
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found


@answers(who=Who.BOTH)
async def blob_create(plane: Plane, caller: Caller, request: api_pb2.BlobCreateRequest) -> api_pb2.BlobCreateResponse:
    """Give an address to send something big to."""
    blob_id = new_id("bl")
    url = plane.address(f"/blob/{blob_id}")
    return api_pb2.BlobCreateResponse(
        blob_id=blob_id,
        upload_url=url,
        blob_ids=[blob_id],
        upload_urls=api_pb2.UploadUrlList(items=[url]),
    )


@answers(who=Who.BOTH)
async def blob_get(plane: Plane, caller: Caller, request: api_pb2.BlobGetRequest) -> api_pb2.BlobGetResponse:
    """Give an address to fetch something big from. Who has its id, which cannot be guessed, may have it."""
    name = request.blob_id
    if not name.replace("-", "").isalnum() or not (plane.blobs_dir / name).is_file():
        raise not_found(f"Blob {name!r} not found")
    return api_pb2.BlobGetResponse(download_url=plane.address(f"/blob/{name}"))
