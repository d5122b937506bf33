"""Describes an attempt: from what a client defined to an `AttemptSpec`. Reads the state; touches nothing.

The container's side of the client expects a layout of its app: the ids of all functions and classes by name, and as
objects the functions (with their handles) and whatever the function depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import (
    AttemptSpec,
    BucketMount,
    ImageDefinition,
    MountedFile,
    VolumeMount,
)
from trimtab.emulation.modal.definitions import App, Class, Function, Image, Mount, StoredSecret, Volume
from trimtab.emulation.modal.handles import metadata_of, volume_metadata
from trimtab.emulation.modal.limits import gpu_request
from trimtab.emulation.modal.state import State
from trimtab.errors import UsageError
from trimtab.process import Secret

if TYPE_CHECKING:
    from trimtab.emulation.modal.tasks import Task

_MODE: Final = 0o644


class Descriptions:
    """Makes descriptions from a state."""

    def __init__(self, state: State, files_dir: Path) -> None:
        """`files_dir` holds what clients sent, by the SHA-256 of the content."""
        self._state = state
        self._files_dir = files_dir

    def attempt(
        self,
        task: Task,
        function: Function,
        definition: api_pb2.Function,
        *,
        server_url: str,
        ports: tuple[int, ...],
        timeout_s: float,
        identity_token: Secret | None,
    ) -> AttemptSpec:
        """Describe an attempt at a function. Raises UsageError when what it depends on is gone."""
        app = self._state.get(App, task.app_id)
        if app is None:
            raise _gone("app", task.app_id)
        arguments = api_pb2.ContainerArguments(
            task_id=task.id,
            function_id=function.id,
            app_id=app.id,
            function_def=definition,
            environment_name=app.environment,
            serialized_params=function.params,
            app_layout=self.layout(app, definition),
        )
        gpu, gpu_count = gpu_request(definition)
        resources = definition.resources
        return AttemptSpec(
            task_id=task.id,
            app_id=app.id,
            app_name=app.name or app.description,
            function_id=function.id,
            function_name=definition.function_name,
            environment_name=app.environment,
            arguments=arguments.SerializeToString(),
            image=self.image(definition.image_id),
            files=tuple(file for mount_id in definition.mount_ids for file in self.files(mount_id)),
            volumes=tuple(_volume_mount(mount) for mount in definition.volume_mounts),
            buckets=tuple(self._bucket_mount(mount) for mount in definition.cloud_bucket_mounts),
            environment=self.secrets(definition.secret_ids),
            cpu_milli=resources.milli_cpu,
            cpu_limit_milli=resources.milli_cpu_max,
            memory_mib=resources.memory_mb,
            memory_limit_mib=resources.memory_mb_max,
            disk_mib=resources.ephemeral_disk_mb,
            gpu=gpu or None,
            gpu_count=gpu_count,
            timeout_s=timeout_s,
            block_network=definition.block_network,
            server_url=server_url,
            ports=ports,
            task_token=Secret(task.token),
            identity_token=identity_token,
        )

    def layout(self, app: App, definition: api_pb2.Function | None = None) -> api_pb2.AppLayout:
        """Return an app's layout, with what a function of it depends on."""
        layout = api_pb2.AppLayout(function_ids=app.function_ids, class_ids=app.class_ids)
        for function_id in app.function_ids.values():
            function = self._state.get(Function, function_id)
            if function is not None:
                layout.objects.add(object_id=function_id, function_handle_metadata=metadata_of(function))
        for class_id in app.class_ids.values():
            layout.objects.add(object_id=class_id, class_handle_metadata=self.class_metadata(class_id))
        for dependency in definition.object_dependencies if definition is not None else ():
            layout.objects.append(self._object(dependency.object_id))
        return layout

    def class_metadata(self, class_id: str) -> api_pb2.ClassHandleMetadata:
        """Return the handle of a class."""
        record = self._state.get(Class, class_id)
        function = self._state.get(Function, record.function_id) if record is not None else None
        if function is None:
            return api_pb2.ClassHandleMetadata()
        return api_pb2.ClassHandleMetadata(
            class_function_id=function.id,
            class_function_metadata=metadata_of(function),
        )

    def image(self, image_id: str) -> ImageDefinition:
        """Return an image with all of its bases. Raises UsageError."""
        record = self._state.get(Image, image_id)
        if record is None:
            raise _gone("image", image_id)
        image = api_pb2.Image.FromString(record.definition)
        context = [
            MountedFile(path=file.filename, content=self._files_dir / file.data.decode(), mode=_MODE)
            for file in image.context_files  # the content lies in a file; what is left of `data` is its name
        ]
        if image.context_mount_id:
            context += [
                MountedFile(path=file.path.lstrip("/"), content=file.content, mode=file.mode)
                for file in self.files(image.context_mount_id)
            ]
        return ImageDefinition(
            image_id=image_id,
            commands=tuple(image.dockerfile_commands),
            base=self.image(image.base_images[0].image_id) if image.base_images else None,
            context=tuple(context),
            environment=self.secrets(image.secret_ids),
            build_args=dict(image.build_args),
            gpu=image.gpu_config.gpu_type or None,
            builder_version=record.builder_version,
        )

    def files(self, mount_id: str) -> tuple[MountedFile, ...]:
        """Return the files of a mount. Raises UsageError."""
        mount = self._state.get(Mount, mount_id)
        if mount is None:
            raise _gone("mount", mount_id)
        return tuple(
            MountedFile(path=path, content=self._files_dir / digest, mode=mode or _MODE)
            for path, digest, mode in mount.files
        )

    def secrets(self, secret_ids: Iterable[str]) -> Mapping[str, Secret]:
        """Return what secrets put into an environment; a later one wins, as on Modal. Raises UsageError."""
        environment: dict[str, Secret] = {}
        for secret_id in secret_ids:
            secret = self._state.get(StoredSecret, secret_id)
            if secret is None:
                raise _gone("secret", secret_id)
            environment |= {name: Secret(value) for name, value in secret.values.items()}
        return environment

    def _bucket_mount(self, mount: api_pb2.CloudBucketMount) -> BucketMount:
        return BucketMount(
            path=mount.mount_path,
            bucket=mount.bucket_name,
            endpoint_url=mount.bucket_endpoint_url or None,
            prefix=mount.key_prefix,
            role_arn=mount.oidc_auth_role_arn or None,
            read_only=mount.read_only,
            credentials=self.secrets([mount.credentials_secret_id] if mount.credentials_secret_id else []),
        )

    def _object(self, object_id: str) -> api_pb2.Object:
        """Return an object of a layout: a Volume and a function with what their handles need, all else by id."""
        made = api_pb2.Object(object_id=object_id)
        volume = self._state.get(Volume, object_id)
        if volume is not None:
            made.volume_metadata.CopyFrom(volume_metadata(volume))
        return made


def _volume_mount(mount: api_pb2.VolumeMount) -> VolumeMount:
    return VolumeMount(
        volume_id=mount.volume_id, path=mount.mount_path, read_only=mount.read_only, sub_path=mount.sub_path
    )


def _gone(kind: str, record_id: str) -> UsageError:
    return UsageError(
        f"the {kind} {record_id} does not exist",
        why="it was deleted, or belongs to another plane's state",
        remedy="run or deploy the app again",
    )
