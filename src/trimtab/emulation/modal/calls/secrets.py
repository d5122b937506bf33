"""Calls about secrets. Values go in and reach containers; no call hands them out."""

from __future__ import annotations

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import StoredSecret, new_id
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found

_UNNAMED = (api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL)


def _metadata(plane: Plane, secret: StoredSecret) -> api_pb2.SecretMetadata:
    return api_pb2.SecretMetadata(
        name=secret.name,
        creation_info=api_pb2.CreationInfo(created_at=secret.created_at),
        keys=sorted(secret.values),
        environment_name=plane.settings.environment,
    )


@answers(who=Who.BOTH)
async def secret_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.SecretGetOrCreateRequest
) -> api_pb2.SecretGetOrCreateResponse:
    """Find a secret by name, or keep a new one."""
    how = request.object_creation_type
    name = "" if how in _UNNAMED else request.deployment_name
    found = plane.state.find(StoredSecret, name) if name else None
    if found is not None and how == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
        raise GRPCError(Status.ALREADY_EXISTS, f"Secret {name!r} already exists")
    if found is None and how == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
        raise not_found(f"Secret {name!r} not found in environment {plane.settings.environment!r}")
    if found is None:
        found = StoredSecret(
            id=new_id("st"), name=name, app_id=request.app_id or caller.app_id, values=dict(request.env_dict)
        )
        plane.state.put(found)
    elif how == api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
        found.values = dict(request.env_dict)
        plane.state.put(found)
    missing = [key for key in request.required_keys if key not in found.values]
    if missing:
        raise GRPCError(Status.FAILED_PRECONDITION, f"Secret is missing key(s): {', '.join(missing)}")
    return api_pb2.SecretGetOrCreateResponse(secret_id=found.id, metadata=_metadata(plane, found))


@answers(who=Who.CLIENT)
async def secret_list(plane: Plane, caller: Caller, request: api_pb2.SecretListRequest) -> api_pb2.SecretListResponse:
    """List the secrets that have names, youngest first."""
    before = request.pagination.created_before
    found = [
        secret for secret in plane.state.all(StoredSecret) if secret.name and (not before or secret.created_at < before)
    ]
    found.sort(key=lambda secret: secret.created_at, reverse=True)
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
            for secret in found[: request.pagination.max_objects or None]
        ],
    )


@answers(who=Who.BOTH)
async def secret_get_info(
    plane: Plane, caller: Caller, request: api_pb2.SecretGetInfoRequest
) -> api_pb2.SecretGetInfoResponse:
    """Tell a secret's name and keys."""
    return api_pb2.SecretGetInfoResponse(metadata=_metadata(plane, _secret(plane, request.secret_id)))


@answers(who=Who.CLIENT)
async def secret_update(plane: Plane, caller: Caller, request: api_pb2.SecretUpdateRequest) -> None:
    """Change, add or take away keys."""
    secret = _secret(plane, request.secret_id)
    for update in request.updates:
        if update.HasField("value"):
            secret.values[update.key] = update.value
        else:
            secret.values.pop(update.key, None)
    plane.state.put(secret)


@answers(who=Who.CLIENT)
async def secret_delete(plane: Plane, caller: Caller, request: api_pb2.SecretDeleteRequest) -> None:
    """Forget a secret."""
    plane.state.remove(_secret(plane, request.secret_id))


def _secret(plane: Plane, secret_id: str) -> StoredSecret:
    secret = plane.state.get(StoredSecret, secret_id)
    if secret is None:
        raise not_found(f"Secret {secret_id!r} not found")
    return secret
