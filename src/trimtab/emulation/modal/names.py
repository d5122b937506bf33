"""What has a name in the one environment: found by it, or made, and listed page by page. Touches the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import Record
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import not_found

_UNNAMED: Final = (api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL)

RecordT = TypeVar("RecordT", bound=Record)


def record_of(plane: Plane, kind: type[RecordT], record_id: str) -> RecordT:
    """Return a record by its id. Raises NOT_FOUND."""
    record = plane.state.get(kind, record_id)
    if record is None:
        raise not_found(f"{kind.kind.capitalize()} {record_id!r} not found")
    return record


def found_or_made(
    plane: Plane, kind: type[RecordT], request: Any, make: Callable[[str], RecordT]
) -> tuple[RecordT, bool]:
    """Return what a GetOrCreate asks for, and whether it was made: by `make`, with its name, "" for one without.

    Raises ALREADY_EXISTS and NOT_FOUND, as the request wants it.
    """
    how = request.object_creation_type
    name = "" if how in _UNNAMED else request.deployment_name
    found = plane.state.find(kind, name) if name else None
    title = kind.kind.capitalize()
    if found is not None and how == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
        raise GRPCError(Status.ALREADY_EXISTS, f"{title} {name!r} already exists")
    if found is not None:
        return found, False
    if how == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
        raise not_found(f"{title} {name!r} not found in environment {plane.settings.environment!r}")
    return make(name), True


def page_of(plane: Plane, kind: type[RecordT], pagination: api_pb2.ListPagination) -> list[RecordT]:
    """Return a page of those that have names, youngest first."""
    before = pagination.created_before
    found = [one for one in plane.state.all(kind) if one.name and (not before or one.created_at < before)]
    found.sort(key=lambda one: one.created_at, reverse=True)
    return found[: pagination.max_objects or None]
