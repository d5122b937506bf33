"""What was deployed, told for people and scripts: functions with resources, mounts, retries, secret keys, image layers.

Reads the state; `trimtab modal status --json` prints it. Values of secrets are not part of it.
"""

from __future__ import annotations

from typing import Any, Final

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import ImageDefinition
from trimtab.emulation.modal.definitions import App, Function, Mount, StoredSecret, Volume
from trimtab.emulation.modal.limits import gpu_request
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.tasks import DEFAULT_TIMEOUT_S
from trimtab.errors import TrimtabError

STATES: Final[dict[int, str]] = {
    api_pb2.APP_STATE_EPHEMERAL: "running",
    api_pb2.APP_STATE_DETACHED: "running, detached",
    api_pb2.APP_STATE_DETACHED_DISCONNECTED: "running, detached",
    api_pb2.APP_STATE_DEPLOYED: "deployed",
    api_pb2.APP_STATE_STOPPING: "stopping",
    api_pb2.APP_STATE_STOPPED: "stopped",
    api_pb2.APP_STATE_INITIALIZING: "initializing",
}


def describe(plane: Plane) -> dict[str, Any]:
    """Return apps with their functions, containers, Volumes and the names of secrets, as JSON can hold it."""
    return {
        "workspace": plane.settings.workspace,
        "environment": plane.settings.environment,
        "runner": plane.execution.name,
        "apps": [_app(plane, app) for app in plane.state.all(App)],
        "volumes": [
            {"id": volume.id, "name": volume.name, "version": volume.version or 1} for volume in plane.state.all(Volume)
        ],
        "secrets": [
            {"id": secret.id, "name": secret.name, "keys": sorted(secret.values)}
            for secret in plane.state.all(StoredSecret)
            if secret.name
        ],
    }


def _app(plane: Plane, app: App) -> dict[str, Any]:
    functions = [plane.state.get(Function, function_id) for function_id in app.function_ids.values()]
    return {
        "id": app.id,
        "name": app.description,
        "state": STATES.get(app.state, str(app.state)),
        "version": app.version,
        "functions": [_function(plane, function) for function in functions if function is not None],
        "containers": [
            {
                "id": row["id"],
                "function_id": row["function_id"],
                "created_at": row["created_at"],
                "started_at": row["started_at"],
                "ended_at": row["ended_at"],
                "ending": row["ending"],
            }
            for row in plane.state.history.tasks(app_id=app.id)
        ],
    }


def _function(plane: Plane, function: Function) -> dict[str, Any]:
    definition = api_pb2.Function.FromString(function.definition)
    gpu, gpu_count = gpu_request(definition)
    policy = definition.retry_policy
    return {
        "id": function.id,
        "name": definition.function_name,
        "module": definition.module_name,
        "resources": {
            "cpu_milli": definition.resources.milli_cpu,
            "memory_mib": definition.resources.memory_mb,
            "disk_mib": definition.resources.ephemeral_disk_mb,
            "gpu": gpu or None,
            "gpu_count": gpu_count,
        },
        "timeout_s": definition.timeout_secs or DEFAULT_TIMEOUT_S,
        "retries": {
            "max": policy.retries,
            "backoff": policy.backoff_coefficient,
            "initial_delay_ms": policy.initial_delay_ms,
            "max_delay_ms": policy.max_delay_ms,
        },
        "max_containers": definition.concurrency_limit or definition.autoscaler_settings.max_containers or None,
        "single_use_containers": definition.single_use_containers,
        "volumes": [
            {"id": mount.volume_id, "name": _volume_name(plane, mount.volume_id), "path": mount.mount_path,
             "read_only": mount.read_only, "sub_path": mount.sub_path}
            for mount in definition.volume_mounts
        ],
        "buckets": [
            {"bucket": mount.bucket_name, "path": mount.mount_path, "prefix": mount.key_prefix,
             "read_only": mount.read_only, "role_arn": mount.oidc_auth_role_arn or None,
             "endpoint_url": mount.bucket_endpoint_url or None,
             "secret_keys": _secret(plane, mount.credentials_secret_id)["keys"]}
            for mount in definition.cloud_bucket_mounts
        ],
        "secrets": [_secret(plane, secret_id) for secret_id in definition.secret_ids],
        "schedule": _schedule(definition),
        "image": _layers(plane, definition.image_id),
        "files": sorted(file for mount_id in definition.mount_ids for file in _files(plane, mount_id)),
    }  # fmt: skip


def _schedule(definition: api_pb2.Function) -> dict[str, Any] | None:
    schedule = definition.schedule
    kind = schedule.WhichOneof("schedule_oneof")
    if kind == "cron":
        return {"cron": schedule.cron.cron_string, "timezone": schedule.cron.timezone or "UTC"}
    if kind == "period":
        return {field.name: value for field, value in schedule.period.ListFields()}
    return None


def _volume_name(plane: Plane, volume_id: str) -> str:
    volume = plane.state.get(Volume, volume_id)
    return volume.name if volume is not None else ""


def _secret(plane: Plane, secret_id: str) -> dict[str, Any]:
    secret = plane.state.get(StoredSecret, secret_id)
    return {"name": secret.name if secret else "", "keys": sorted(secret.values) if secret else []}


def _files(plane: Plane, mount_id: str) -> list[str]:
    mount = plane.state.get(Mount, mount_id)
    return [path for path, _, _ in mount.files] if mount is not None else []


def _layers(plane: Plane, image_id: str) -> list[list[str]]:
    """Return the Dockerfile commands of an image and its bases, the lowest first."""
    layers: list[list[str]] = []
    try:
        image: ImageDefinition | None = plane.descriptions.image(image_id)
    except TrimtabError:
        return layers
    while image is not None:
        layers.insert(0, list(image.commands))
        image = image.base
    return layers
