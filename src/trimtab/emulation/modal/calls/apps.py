"""Calls about apps: making, publishing, finding, listing and stopping them."""

from __future__ import annotations

import time
from typing import Final

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from trimtab.emulation.modal.definitions import App, Function, new_id
from trimtab.emulation.modal.plane import STOPPED, Plane
from trimtab.emulation.modal.rpc import Caller, Who, answers, not_found

_PAGE: Final = "trimtab://modal/apps"


def app_of(plane: Plane, app_id: str) -> App:
    """Return an app. Raises NOT_FOUND."""
    app = plane.state.get(App, app_id)
    if app is None:
        raise not_found(f"App {app_id!r} not found")
    return app


def deployed(plane: Plane, name: str) -> App | None:
    """Return the app that is deployed under a name now."""
    found = plane.state.find(App, name) if name else None
    return found if found is not None and found.state == api_pb2.APP_STATE_DEPLOYED else None


def _lifecycle(app: App) -> api_pb2.AppLifecycle:
    return api_pb2.AppLifecycle(
        app_state=api_pb2.AppState.ValueType(app.state),
        created_at=app.created_at,
        deployed_at=app.deployed_at,
        version=app.version,
        stopped_at=app.stopped_at,
    )


@answers(who=Who.CLIENT)
async def app_create(plane: Plane, caller: Caller, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
    """Make an app for `modal run`, or the first version of one that is deployed."""
    app = App(
        id=new_id("ap"),
        description=request.description,
        environment=request.environment_name or plane.settings.environment,
        state=request.app_state,
        tags=dict(request.tags),
    )
    plane.state.put(app)
    plane.hear(app.id)
    return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=f"{_PAGE}/{app.id}", app_logs_url=f"{_PAGE}/{app.id}")


@answers(who=Who.CLIENT)
async def app_get_or_create(
    plane: Plane, caller: Caller, request: api_pb2.AppGetOrCreateRequest
) -> api_pb2.AppGetOrCreateResponse:
    """Find an app by name for `App.lookup`, or make one."""
    app = deployed(plane, request.app_name)
    if app is None:
        if request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            raise not_found(f"App {request.app_name!r} not found")
        app = App(
            id=new_id("ap"),
            name=request.app_name,
            description=request.app_name,
            environment=request.environment_name or plane.settings.environment,
            state=api_pb2.APP_STATE_DEPLOYED,
        )
        plane.state.put(app)
    return api_pb2.AppGetOrCreateResponse(app_id=app.id)


@answers(who=Who.CLIENT)
async def app_get_by_deployment_name(
    plane: Plane, caller: Caller, request: api_pb2.AppGetByDeploymentNameRequest
) -> api_pb2.AppGetByDeploymentNameResponse:
    """Find what is deployed under a name, or was."""
    app = plane.state.find(App, request.name) if request.name else None
    response = api_pb2.AppGetByDeploymentNameResponse(
        environment_name=request.environment_name or plane.settings.environment
    )
    if app is not None:
        response.lifecycle.CopyFrom(_lifecycle(app))
        if app.state == api_pb2.APP_STATE_DEPLOYED:
            response.app_id = app.id
        else:
            response.previous_app_id = app.id
    return response


@answers(who=Who.CLIENT)
async def app_get_layout(
    plane: Plane, caller: Caller, request: api_pb2.AppGetLayoutRequest
) -> api_pb2.AppGetLayoutResponse:
    """Return the functions and classes of an app."""
    return api_pb2.AppGetLayoutResponse(app_layout=plane.descriptions.layout(app_of(plane, request.app_id)))


@answers(who=Who.CLIENT)
async def app_publish(plane: Plane, caller: Caller, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:
    """Make the functions that were sent an app's own; with a name, it is deployed."""
    app = app_of(plane, request.app_id)
    if app.state in STOPPED:
        raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.id} is stopped")
    changed = app.state == api_pb2.APP_STATE_DEPLOYED
    app.function_ids = dict(request.function_ids)
    app.class_ids = dict(request.class_ids)
    app.state = request.app_state
    app.name = request.name or app.name
    app.tags = dict(request.tags)
    if request.app_state == api_pb2.APP_STATE_DEPLOYED:
        app.version += 1
        app.deployed_at = time.time()
        app.description = app.name
    plane.state.put(app)
    if changed:  # what runs the code of the version before takes no more inputs
        for function in plane.state.all(Function, app_id=app.id):
            plane.scheduler.redefine(function.id)
    return api_pb2.AppPublishResponse(url=f"{_PAGE}/{app.id}", deployed_at=app.deployed_at)


@answers(who=Who.CLIENT)
async def app_heartbeat(plane: Plane, caller: Caller, request: api_pb2.AppHeartbeatRequest) -> None:
    """Hear that an app's client lives."""
    plane.hear(request.app_id)


@answers(who=Who.CLIENT)
async def app_client_disconnect(plane: Plane, caller: Caller, request: api_pb2.AppClientDisconnectRequest) -> None:
    """Let go of an app: it stops, or goes on by itself when it is detached."""
    plane.disconnect(app_of(plane, request.app_id))


@answers(who=Who.CLIENT)
async def app_stop(plane: Plane, caller: Caller, request: api_pb2.AppStopRequest) -> None:
    """Stop an app for good, with what it runs."""
    plane.stop(app_of(plane, request.app_id))


@answers(who=Who.CLIENT)
async def app_list(plane: Plane, caller: Caller, request: api_pb2.AppListRequest) -> api_pb2.AppListResponse:
    """List the apps that run, are deployed, or were stopped."""
    return api_pb2.AppListResponse(
        apps=[
            api_pb2.AppListResponse.AppListItem(
                app_id=app.id,
                description=app.description,
                name=app.name,
                state=api_pb2.AppState.ValueType(app.state),
                created_at=app.created_at,
                stopped_at=app.stopped_at,
                n_running_tasks=len(plane.roster.tasks(app_id=app.id)),
            )
            for app in plane.state.all(App)
        ]
    )


@answers(who=Who.CLIENT)
async def app_get_lifecycle(
    plane: Plane, caller: Caller, request: api_pb2.AppGetLifecycleRequest
) -> api_pb2.AppGetLifecycleResponse:
    """Tell whether an app runs, is deployed, or was stopped."""
    return api_pb2.AppGetLifecycleResponse(lifecycle=_lifecycle(app_of(plane, request.app_id)))


@answers(who=Who.CLIENT)
async def app_deployment_history(
    plane: Plane, caller: Caller, request: api_pb2.AppDeploymentHistoryRequest
) -> api_pb2.AppDeploymentHistoryResponse:
    """Tell the version that is deployed; earlier ones are not kept."""
    app = app_of(plane, request.app_id)
    history = api_pb2.AppDeploymentHistory(app_id=app.id, version=app.version, deployed_at=app.deployed_at)
    return api_pb2.AppDeploymentHistoryResponse(
        app_deployment_histories=[history] if app.version else [], production_app_version=app.version
    )
