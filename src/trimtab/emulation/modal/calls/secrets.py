"""Calls about secrets. Values go in and reach containers; no call hands them out."""

from __future__ import annotations

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import StoredSecret, new_id
from trimtab.emulation.modal.handles import created
from trimtab.emulation.modal.names import found_or_made, page_of, record_of
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers


def _metadata(plane: Plane, secret: StoredSecret) -> api_pb2.SecretMetadata:
    return api_pb2.SecretMetadata(
        name=secret.name,
        creation_info=created(secret),
        keys=sorted(secret.values),
        environment_name=plane.settings.environment,
    )


@answers(who=Who.BOTH)
async def secret_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.SecretGetOrCreateRequest
) -> api_pb2.SecretGetOrCreateResponse:
    """Find a secret by name, or keep a new one."""
    found, is_new = found_or_made(
        plane,
        StoredSecret,
        request,
        lambda name: StoredSecret(id=new_id("st"), name=name, app_id=request.app_id or caller.app_id),
    )
    if is_new or request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
        found.values = dict(request.env_dict)
        plane.state.put(found)
    missing = [key for key in request.required_keys if key not in found.values]
    if missing:
        raise GRPCError(Status.FAILED_PRECONDITION, f"Secret is missing key(s): {', '.join(missing)}")
    return api_pb2.SecretGetOrCreateResponse(secret_id=found.id, metadata=_metadata(plane, found))


@answers(who=Who.CLIENT)
async def secret_list(plane: Plane, caller: Caller, request: api_pb2.SecretListRequest) -> api_pb2.SecretListResponse:
    """List the secrets that have names, youngest first."""
    return api_pb2.SecretListResponse(
        environment_name=plane.settings.environment,
        items=[
            api_pb2.SecretListItem(
                label=secret.name,
                created_at=secret.created_at,
                environment_name=plane.settings.environment,
                secret_id=secret.id,
                metadata=_metadata(plane, secret),
            )
            for secret in page_of(plane, StoredSecret, request.pagination)
        ],
    )


@answers(who=Who.BOTH)
async def secret_get_info(
    plane: Plane, caller: Caller, request: api_pb2.SecretGetInfoRequest
) -> api_pb2.SecretGetInfoResponse:
    """Tell a secret's name and keys."""
    return api_pb2.SecretGetInfoResponse(metadata=_metadata(plane, record_of(plane, StoredSecret, request.secret_id)))


@answers(who=Who.CLIENT)
async def secret_update(plane: Plane, caller: Caller, request: api_pb2.SecretUpdateRequest) -> None:
    """Change, add or take away keys."""
    secret = record_of(plane, StoredSecret, request.secret_id)
    for update in request.updates:
        if update.HasField("value"):
            secret.values[update.key] = update.value
        else:
            secret.values.pop(update.key, None)
    plane.state.put(secret)


@answers(who=Who.CLIENT)
async def secret_delete(plane: Plane, caller: Caller, request: api_pb2.SecretDeleteRequest) -> None:
    """Forget a secret."""
    plane.state.remove(record_of(plane, StoredSecret, request.secret_id))
