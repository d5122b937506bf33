"""Calls about the workspace and its environments: there is one of each."""

from __future__ import annotations

from typing import Any

from modal_proto import api_pb2

from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found
from trimtab.emulation.modal.settings import BUILDER_VERSION

_ENVIRONMENT_ID = "en-embedded"


@answers(who=Who.CLIENT)
async def client_hello(plane: Plane, caller: Caller, request: Any) -> api_pb2.ClientHelloResponse:
    """Greet a client whose token is right."""
    return api_pb2.ClientHelloResponse(image_builder_version=BUILDER_VERSION)


@answers(who=Who.CLIENT)
async def workspace_name_lookup(plane: Plane, caller: Caller, request: Any) -> api_pb2.WorkspaceNameLookupResponse:
    """Name the workspace of the catalogue."""
    return api_pb2.WorkspaceNameLookupResponse(workspace_name=plane.settings.workspace, username="embedded")


@answers(who=Who.CLIENT)
async def token_info_get(plane: Plane, caller: Caller, request: Any) -> api_pb2.TokenInfoGetResponse:
    """Tell whose token it is."""
    return api_pb2.TokenInfoGetResponse(
        workspace_id=plane.settings.workspace,
        workspace_name=plane.settings.workspace,
        user_identity=api_pb2.UserIdentity(user_id="us-embedded", username="embedded"),
    )


@answers(who=Who.BOTH)
async def environment_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.EnvironmentGetOrCreateRequest
) -> api_pb2.EnvironmentGetOrCreateResponse:
    """Return the environment of the catalogue; there is no other."""
    name = plane.settings.environment
    if request.deployment_name not in {"", name}:
        raise not_found(f"Environment {request.deployment_name!r} not found: the embedded Modal has {name!r} only")
    return api_pb2.EnvironmentGetOrCreateResponse(
        environment_id=_ENVIRONMENT_ID,
        metadata=api_pb2.EnvironmentMetadata(
            name=name, settings=api_pb2.EnvironmentSettings(image_builder_version=BUILDER_VERSION)
        ),
    )


@answers(who=Who.CLIENT)
async def environment_list(plane: Plane, caller: Caller, request: Any) -> api_pb2.EnvironmentListResponse:
    """List the one environment."""
    return api_pb2.EnvironmentListResponse(
        items=[
            api_pb2.EnvironmentListItem(name=plane.settings.environment, default=True, environment_id=_ENVIRONMENT_ID)
        ]
    )
