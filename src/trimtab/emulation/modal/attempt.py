"""What the control plane and the execution of attempts agree on. Pure data and protocols; starts and opens nothing.

The plane (`scheduler.py`) decides that an attempt is to run, describes it as an `AttemptSpec` and hands it to an
`AttemptRunner`. A runner gives it a place of its own (a container, or a process in its own mount namespace), starts
`python -m modal._container_entrypoint` there and tells when it ended. Everything else (inputs, outputs, commits) the
attempt says to the plane itself, by calls that carry its task token; the plane passes commits and reloads on to the
`VolumeStore`, and the images that a client defines to the `ImageBuilder`.

All methods that may take time are coroutines: whatever blocks (the engine's API, copying a tree) runs in a thread of
the implementation's choosing, never on the plane's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from trimtab.errors import TrimtabError
from trimtab.process import Secret

TASK_HEADER: Final = "x-trimtab-task"
"""The header by which an attempt proves which task it is; its value is the task's token."""

WORKDIR: Final = "/root"
"""Where Modal mounts the code of a function, and where the function starts."""


class LogStream(Enum):
    """Which output of an attempt or of an image's build a piece of text came from."""

    STDOUT = "stdout"
    STDERR = "stderr"
    SYSTEM = "system"
    """Said by Trimtab, not by the program: a fallback, a limit, a preemption."""


LogSink = Callable[[LogStream, str], None]
"""Takes text as it comes, line ends included. To be called on the plane's event loop."""


class VolumeBusyError(TrimtabError):
    """A Volume cannot be reloaded: the attempt has files of it open. Becomes FAILED_PRECONDITION."""


class ImageFailedError(TrimtabError):
    """An image was not built. The message becomes the build's result in the client's terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedFile:
    """One file that the client sent: `content` (never to be written) appears at `path` in the attempt."""

    path: str
    content: Path
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A Volume at a path of the attempt. `sub_path` is the folder of the Volume that appears there, "" the whole."""

    volume_id: str
    path: str
    read_only: bool
    sub_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMount:
    """A bucket, or what lies under its prefix, at a path of the attempt.

    Read with the credentials of `role_arn`, assumed by the attempt's identity token, or else with those in
    `credentials` (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ... from the mount's secret). `prefix` is "" or ends in /.
    """

    path: str
    bucket: str
    endpoint_url: str | None
    prefix: str
    role_arn: str | None
    read_only: bool
    credentials: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDefinition:
    """An image as the client defined it: Dockerfile commands on a base that is another definition, or none.

    `commands` of an image with a base start with `FROM base`. `context` are the files that `COPY` may name, with
    their paths relative to the build's context. `environment` holds what `secrets=` gave to the build.
    """

    image_id: str
    commands: tuple[str, ...]
    base: ImageDefinition | None
    context: tuple[MountedFile, ...]
    environment: Mapping[str, Secret] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    gpu: str | None = None
    builder_version: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """One attempt at running inputs of a function: everything a runner needs to give it a place and start it.

    `arguments` is a serialised `api_pb2.ContainerArguments`; it goes into a file that MODAL_CONTAINER_ARGUMENTS_PATH
    names. `files` are the only code the attempt sees besides its image. `cpu_milli` and `memory_mib` are what was
    asked for, the limits what must not be passed (0: nothing was said); a runner that gives less than asked says so
    through the log. `server_url` and `task_token` are the attempt's only way to the plane; `ports` are all ports of
    127.0.0.1 on which the plane answers it.
    """

    task_id: str
    app_id: str
    app_name: str
    function_id: str
    function_name: str
    environment_name: str
    arguments: bytes = field(repr=False)
    image: ImageDefinition
    files: tuple[MountedFile, ...]
    volumes: tuple[VolumeMount, ...]
    buckets: tuple[BucketMount, ...]
    environment: Mapping[str, Secret]
    cpu_milli: int
    cpu_limit_milli: int
    memory_mib: int
    memory_limit_mib: int
    disk_mib: int
    gpu: str | None
    gpu_count: int
    timeout_s: float
    block_network: bool
    server_url: str
    ports: tuple[int, ...]
    task_token: Secret
    identity_token: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended: its exit code, or the signal that ended it; `out_of_memory` when its limit did."""

    exit_code: int | None
    signal: int | None
    out_of_memory: bool = False


class AttemptHandle(Protocol):
    """An attempt that was started."""

    async def wait(self) -> AttemptEnd:
        """Return once it ended, and all of its output was handed to the log. May be awaited more than once."""

    async def interrupt(self) -> None:
        """Send SIGINT to the entry point, as a preemption does. Nothing happens when it has ended."""

    async def kill(self) -> None:
        """End it and all that it started at once. Nothing happens when it has ended."""

    async def close(self) -> None:
        """Take its place away: mounts, working copies with what was not committed, the container. Once, after wait."""


class AttemptRunner(Protocol):
    """Gives attempts a place and starts them."""

    async def start(self, spec: AttemptSpec, log: LogSink) -> AttemptHandle:
        """Start an attempt. Raises TrimtabError when it cannot (what it made until then is taken away again)."""

    async def sweep(self) -> None:
        """Take away what attempts of an earlier plane left behind; called once, before the first start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeEntry:
    """A file or folder of a Volume as last committed. `path` is relative to the Volume's root, without a slash."""

    path: str
    is_dir: bool
    size_bytes: int
    modified_s: float


class VolumeStore(Protocol):
    """Volumes as directories: what is committed, and each running attempt's view of it.

    Paths are relative to the Volume's root; a path that leads out of it raises TrimtabError.
    """

    async def create(self, volume_id: str) -> None:
        """Make an empty Volume, unless it exists."""

    async def delete(self, volume_id: str) -> None:
        """Remove a Volume and all that it holds."""

    async def tidy(self) -> None:
        """Remove what newer commits have superseded, and what a killed one left."""

    async def commit(self, task_id: str, volume_id: str) -> None:
        """Make what an attempt wrote visible to whoever mounts or reloads from now on; last writer wins by file."""

    async def reload(self, task_id: str, volume_id: str) -> None:
        """Show an attempt what others committed. Raises VolumeBusyError while it has files of the Volume open."""

    async def entries(self, volume_id: str, path: str, *, recursive: bool) -> tuple[VolumeEntry, ...]:
        """List a folder, or the one file that `path` names. Raises FileNotFoundError."""

    async def open_file(self, volume_id: str, path: str) -> Path:
        """Return where the committed content of a file can be read (and not written). Raises FileNotFoundError."""

    async def put_file(self, volume_id: str, path: str, content: Path, mode: int) -> None:
        """Write one file whole, and commit it."""

    async def remove(self, volume_id: str, path: str, *, recursive: bool) -> None:
        """Remove a file, or a folder when `recursive`, and commit it. Raises FileNotFoundError, IsADirectoryError."""

    async def copy(self, volume_id: str, sources: tuple[str, ...], target: str, *, recursive: bool) -> None:
        """Copy within a Volume as `cp` does, and commit it. Raises FileNotFoundError."""


class ImageBuilder(Protocol):
    """Turns definitions into whatever its runner starts attempts from."""

    def is_ready(self, image: ImageDefinition) -> bool:
        """Tell at once whether nothing is left to do for an image."""

    async def ensure(self, image: ImageDefinition, log: LogSink) -> None:
        """Build an image and its bases, where they are not ready. Raises ImageFailedError."""


def entry_environment(spec: AttemptSpec, *, arguments_path: str) -> dict[str, str]:
    """Return every variable that an attempt's entry point starts with, its secrets revealed.

    What Modal documents for containers (https://modal.com/docs/guide/environment_variables) and what the entry point
    needs. The task token travels in MODAL_OVERRIDE_HEADERS, which the client adds to each of its calls.
    """
    environment = {name: value.reveal() for name, value in spec.environment.items()}
    environment |= {
        "MODAL_SERVER_URL": spec.server_url,
        "MODAL_TASK_ID": spec.task_id,
        "MODAL_IMAGE_ID": spec.image.image_id,
        "MODAL_ENVIRONMENT": spec.environment_name,
        "MODAL_IS_REMOTE": "1",
        "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_UNSPECIFIED",
        "MODAL_REGION": "local",
        "MODAL_DISABLE_API_PROXY": "1",
        "MODAL_CONTAINER_ARGUMENTS_PATH": arguments_path,
        "MODAL_OVERRIDE_HEADERS": f"{TASK_HEADER}:{spec.task_token.reveal()}",
        "PYTHONUNBUFFERED": "1",
    }
    if spec.identity_token is not None:
        environment["MODAL_IDENTITY_TOKEN"] = spec.identity_token.reveal()
    return environment
