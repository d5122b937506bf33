"""Calls about Queues: items that apps hand each other, in order, by name."""

from __future__ import annotations

import time
from typing import Final

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import Queue, new_id
from trimtab.emulation.modal.handles import created
from trimtab.emulation.modal.names import found_or_made, page_of, record_of
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, invalid
from trimtab.emulation.modal.shared import MAX_ITEMS

_MAX_ITEM_BYTES: Final = 1024 * 1024  # https://modal.com/docs/guide/queues
_KEEP_S: Final = 24 * 3600
_WAIT_S: Final = 55.0
_PAGE: Final = 100


def _metadata(record: Queue) -> api_pb2.QueueMetadata:
    return api_pb2.QueueMetadata(name=record.name, creation_info=created(record))


@answers(who=Who.BOTH)
async def queue_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.QueueGetOrCreateRequest
) -> api_pb2.QueueGetOrCreateResponse:
    """Find a Queue by name, or make one."""
    found, is_new = found_or_made(plane, Queue, request, lambda name: Queue(id=new_id("qu"), name=name))
    if is_new:
        plane.state.put(found)
    return api_pb2.QueueGetOrCreateResponse(queue_id=found.id, metadata=_metadata(found))


@answers(who=Who.BOTH)
async def queue_get_by_id(
    plane: Plane, caller: Caller, request: api_pb2.QueueGetByIdRequest
) -> api_pb2.QueueGetByIdResponse:
    """Find a Queue by its id."""
    record = record_of(plane, Queue, request.queue_id)
    return api_pb2.QueueGetByIdResponse(queue_id=record.id, metadata=_metadata(record))


@answers(who=Who.BOTH)
async def queue_heartbeat(plane: Plane, caller: Caller, request: api_pb2.QueueHeartbeatRequest) -> None:
    """Hear that an unnamed Queue is in use."""
    record = record_of(plane, Queue, request.queue_id)
    record.used_at = time.time()
    plane.state.put(record)


@answers(who=Who.CLIENT)
async def queue_list(plane: Plane, caller: Caller, request: api_pb2.QueueListRequest) -> api_pb2.QueueListResponse:
    """List the Queues that have names, youngest first."""
    shared = plane.state.shared
    response = api_pb2.QueueListResponse(environment_name=plane.settings.environment)
    for one in page_of(plane, Queue, request.pagination):
        response.queues.add(
            queue_id=one.id,
            name=one.name,
            created_at=one.created_at,
            num_partitions=shared.count_partitions(one.id),
            total_size=shared.count_items(one.id, None),
            metadata=_metadata(one),
        )
    return response


@answers(who=Who.BOTH)
async def queue_put(plane: Plane, caller: Caller, request: api_pb2.QueuePutRequest) -> None:
    """Add items to the end of a partition; a full one refuses them all."""
    record = record_of(plane, Queue, request.queue_id)
    if any(len(value) > _MAX_ITEM_BYTES for value in request.values):
        raise invalid(f"An item of a Queue may have {_MAX_ITEM_BYTES} bytes")
    keep_s = request.partition_ttl_seconds or _KEEP_S
    values = list(request.values)
    if not plane.state.shared.put_items(record.id, request.partition_key, values, keep_s=keep_s):
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"The Queue's partition is full: it holds {MAX_ITEMS} items")
    plane.bell.ring(f"queue:{record.id}")


@answers(who=Who.BOTH)
async def queue_get(plane: Plane, caller: Caller, request: api_pb2.QueueGetRequest) -> api_pb2.QueueGetResponse:
    """Hand out the first items of a partition; waits for some, as long as it is asked to."""
    record = record_of(plane, Queue, request.queue_id)
    deadline = time.monotonic() + min(request.timeout, _WAIT_S)
    while True:
        most = max(request.n_values, 1)
        values = plane.state.shared.take_items(record.id, request.partition_key, most=most)
        left_s = deadline - time.monotonic()
        if values or left_s <= 0:
            return api_pb2.QueueGetResponse(values=values)
        await plane.bell.wait(f"queue:{record.id}", left_s)


@answers(who=Who.BOTH)
async def queue_next_items(
    plane: Plane, caller: Caller, request: api_pb2.QueueNextItemsRequest
) -> api_pb2.QueueNextItemsResponse:
    """Show the items after one, and leave them; waits for some, as long as it is asked to."""
    record = record_of(plane, Queue, request.queue_id)
    after = int(request.last_entry_id or 0)
    deadline = time.monotonic() + min(request.item_poll_timeout, _WAIT_S)
    while True:
        found = plane.state.shared.items(record.id, request.partition_key, after=after, most=_PAGE)
        left_s = deadline - time.monotonic()
        if found or left_s <= 0:
            items = [api_pb2.QueueItem(value=value, entry_id=str(number)) for number, value in found]
            return api_pb2.QueueNextItemsResponse(items=items)
        await plane.bell.wait(f"queue:{record.id}", left_s)


@answers(who=Who.BOTH)
async def queue_len(plane: Plane, caller: Caller, request: api_pb2.QueueLenRequest) -> api_pb2.QueueLenResponse:
    """Count the items of a partition, or of all."""
    record = record_of(plane, Queue, request.queue_id)
    partition = None if request.total else request.partition_key
    return api_pb2.QueueLenResponse(len=plane.state.shared.count_items(record.id, partition))


@answers(who=Who.BOTH)
async def queue_clear(plane: Plane, caller: Caller, request: api_pb2.QueueClearRequest) -> None:
    """Remove the items of a partition, or of all."""
    record = record_of(plane, Queue, request.queue_id)
    plane.state.shared.clear(record.id, None if request.all_partitions else request.partition_key)


@answers(who=Who.CLIENT)
async def queue_delete(plane: Plane, caller: Caller, request: api_pb2.QueueDeleteRequest) -> None:
    """Delete a Queue with all that it holds."""
    record = record_of(plane, Queue, request.queue_id)
    plane.state.shared.clear(record.id)
    plane.state.remove(record)
