"""Calls about Dicts: keys and values that apps share by name."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import Dict, new_id
from trimtab.emulation.modal.handles import created
from trimtab.emulation.modal.names import found_or_made, page_of, record_of
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers


def _metadata(record: Dict) -> api_pb2.DictMetadata:
    return api_pb2.DictMetadata(name=record.name, creation_info=created(record))


@answers(who=Who.BOTH)
async def dict_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.DictGetOrCreateRequest
) -> api_pb2.DictGetOrCreateResponse:
    """Find a Dict by name, or make one."""
    found, is_new = found_or_made(plane, Dict, request, lambda name: Dict(id=new_id("di"), name=name))
    if is_new:
        plane.state.put(found)
        entries = [(entry.key, entry.value) for entry in request.data]
        plane.state.shared.put_entries(found.id, entries, only_new=False)
    return api_pb2.DictGetOrCreateResponse(dict_id=found.id, metadata=_metadata(found))


@answers(who=Who.BOTH)
async def dict_get_by_id(
    plane: Plane, caller: Caller, request: api_pb2.DictGetByIdRequest
) -> api_pb2.DictGetByIdResponse:
    """Find a Dict by its id."""
    record = record_of(plane, Dict, request.dict_id)
    return api_pb2.DictGetByIdResponse(dict_id=record.id, metadata=_metadata(record))


@answers(who=Who.BOTH)
async def dict_heartbeat(plane: Plane, caller: Caller, request: api_pb2.DictHeartbeatRequest) -> None:
    """Hear that an unnamed Dict is in use."""
    record = record_of(plane, Dict, request.dict_id)
    record.used_at = time.time()
    plane.state.put(record)


@answers(who=Who.CLIENT)
async def dict_list(plane: Plane, caller: Caller, request: api_pb2.DictListRequest) -> api_pb2.DictListResponse:
    """List the Dicts that have names, youngest first."""
    response = api_pb2.DictListResponse(environment_name=plane.settings.environment)
    for one in page_of(plane, Dict, request.pagination):
        response.dicts.add(dict_id=one.id, name=one.name, created_at=one.created_at, metadata=_metadata(one))
    return response


@answers(who=Who.BOTH)
async def dict_update(plane: Plane, caller: Caller, request: api_pb2.DictUpdateRequest) -> api_pb2.DictUpdateResponse:
    """Write entries; only those whose key is new, if so asked."""
    record = record_of(plane, Dict, request.dict_id)
    entries = [(entry.key, entry.value) for entry in request.updates]
    written = plane.state.shared.put_entries(record.id, entries, only_new=request.if_not_exists)
    return api_pb2.DictUpdateResponse(created=written > 0)


@answers(who=Who.BOTH)
async def dict_get(plane: Plane, caller: Caller, request: api_pb2.DictGetRequest) -> api_pb2.DictGetResponse:
    """Return the value of a key."""
    value = plane.state.shared.entry(record_of(plane, Dict, request.dict_id).id, request.key)
    return api_pb2.DictGetResponse(found=value is not None, value=value)


@answers(who=Who.BOTH)
async def dict_contains(
    plane: Plane, caller: Caller, request: api_pb2.DictContainsRequest
) -> api_pb2.DictContainsResponse:
    """Tell whether there is a key."""
    value = plane.state.shared.entry(record_of(plane, Dict, request.dict_id).id, request.key)
    return api_pb2.DictContainsResponse(found=value is not None)


@answers(who=Who.BOTH)
async def dict_pop(plane: Plane, caller: Caller, request: api_pb2.DictPopRequest) -> api_pb2.DictPopResponse:
    """Remove a key, and return its value."""
    value = plane.state.shared.pop_entry(record_of(plane, Dict, request.dict_id).id, request.key)
    return api_pb2.DictPopResponse(found=value is not None, value=value)


@answers(who=Who.BOTH)
async def dict_len(plane: Plane, caller: Caller, request: api_pb2.DictLenRequest) -> api_pb2.DictLenResponse:
    """Count the entries."""
    return api_pb2.DictLenResponse(len=plane.state.shared.count_entries(record_of(plane, Dict, request.dict_id).id))


@answers(who=Who.BOTH)
async def dict_contents(
    plane: Plane, caller: Caller, request: api_pb2.DictContentsRequest
) -> AsyncIterator[api_pb2.DictEntry]:
    """Stream the keys, the values, or both."""
    for key, value in plane.state.shared.entries(record_of(plane, Dict, request.dict_id).id):
        yield api_pb2.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")


@answers(who=Who.BOTH)
async def dict_clear(plane: Plane, caller: Caller, request: api_pb2.DictClearRequest) -> None:
    """Remove every entry."""
    plane.state.shared.clear(record_of(plane, Dict, request.dict_id).id)


@answers(who=Who.CLIENT)
async def dict_delete(plane: Plane, caller: Caller, request: api_pb2.DictDeleteRequest) -> None:
    """Delete a Dict with all that it holds."""
    record = record_of(plane, Dict, request.dict_id)
    plane.state.shared.clear(record.id)
    plane.state.remove(record)
