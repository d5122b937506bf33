"""What Modal would refuse of a function: timeout, retries, GPUs, disk, mount points, prefixes. Pure.

The client sends most of these unchecked; on the platform they fail, each with a page that says so. Names, counts and
numbers are from those pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modal_proto import api_pb2

MAX_TIMEOUT_S: Final = 24 * 3600
MAX_RETRIES: Final = 10
MAX_DISK_MIB: Final = 3 * 1024 * 1024

MAX_GPUS: Final = {
    "T4": 8,
    "L4": 8,
    "A10": 4,
    "A10G": 4,
    "L40S": 8,
    "A100": 8,
    "A100-40GB": 8,
    "A100-80GB": 8,
    "RTX-PRO-6000": 8,
    "H100": 8,
    "H100!": 8,
    "H200": 8,
    "B200": 8,
    "B200+": 8,
    "B300": 8,
    "ANY": 8,
}
"""GPUs by the name that `gpu=` takes, with how many one container may have (https://modal.com/docs/guide/gpu)."""

_FORBIDDEN_PATHS: Final = ("/", "/root", "/tmp")  # noqa: S108 - Modal's own list

_TIMEOUTS: Final = "https://modal.com/docs/guide/timeouts"
_RETRIES: Final = "https://modal.com/docs/guide/retries"
_GPU: Final = "https://modal.com/docs/guide/gpu"
_DISK: Final = "https://modal.com/docs/guide/resources"
_VOLUMES: Final = "https://modal.com/docs/guide/volumes"
_BUCKETS: Final = "https://modal.com/docs/guide/cloud-bucket-mounts"
_PREEMPTION: Final = "https://modal.com/docs/guide/preemption"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is not allowed, and the page that says so."""

    what: str
    page: str

    def __str__(self) -> str:
        return f"{self.what} See {self.page}"


def refusals(function: api_pb2.Function) -> tuple[Refusal, ...]:
    """Return everything about a function that Modal would refuse; empty when nothing is."""
    return (*_time(function), *_resources(function), *_mounts(function))


def _time(function: api_pb2.Function) -> Iterator[Refusal]:
    if function.timeout_secs > MAX_TIMEOUT_S:
        yield Refusal(
            what=f"timeout={function.timeout_secs} is too long: an attempt may take 1 second to 24 hours (86400).",
            page=_TIMEOUTS,
        )
    if function.startup_timeout_secs > MAX_TIMEOUT_S:
        yield Refusal(
            what=f"startup_timeout={function.startup_timeout_secs} is too long: at most 24 hours (86400).",
            page=_TIMEOUTS,
        )
    if function.retry_policy.retries > MAX_RETRIES:
        yield Refusal(
            what=f"max_retries={function.retry_policy.retries} is too many: at most {MAX_RETRIES} are allowed.",
            page=_RETRIES,
        )


def _resources(function: api_pb2.Function) -> Iterator[Refusal]:
    disk = function.resources.ephemeral_disk_mb
    if disk > MAX_DISK_MIB:
        yield Refusal(
            what=f"ephemeral_disk={disk} is too much: at most {MAX_DISK_MIB} MiB (3 TiB) are given.", page=_DISK
        )
    name, count = gpu_request(function)
    if not name:
        return
    most = MAX_GPUS.get(name)
    if most is None:
        known = ", ".join(MAX_GPUS)
        yield Refusal(what=f"gpu={name!r} is no GPU that Modal has: it has {known}.", page=_GPU)
    elif count > most:
        yield Refusal(what=f"gpu='{name}:{count}' asks for too many: a container has at most {most} of it.", page=_GPU)
    if function.scheduler_placement.nonpreemptible:
        yield Refusal(what="nonpreemptible=True is not possible with a GPU.", page=_PREEMPTION)


def _mounts(function: api_pb2.Function) -> Iterator[Refusal]:
    paths: list[str] = []
    for path, page in (
        *((mount.mount_path, _VOLUMES) for mount in function.volume_mounts),
        *((mount.mount_path, _BUCKETS) for mount in function.cloud_bucket_mounts),
    ):
        clean = str(PurePosixPath(path))
        if not path.startswith("/"):
            yield Refusal(what=f"{path!r} is no place for a mount: it must be an absolute path.", page=page)
        elif clean in _FORBIDDEN_PATHS:
            yield Refusal(what=f"{path!r} is no place for a mount: /, /root and /tmp are taken.", page=page)
        if clean in paths:
            yield Refusal(what=f"{path!r} is mounted twice.", page=page)
        paths.append(clean)
    volumes = [mount.volume_id for mount in function.volume_mounts]
    if len(volumes) != len(set(volumes)):
        yield Refusal(what="The same Volume is mounted at two paths.", page=_VOLUMES)
    for mount in function.cloud_bucket_mounts:
        if mount.key_prefix and not mount.key_prefix.endswith("/"):
            yield Refusal(what=f"key_prefix={mount.key_prefix!r} must end with a slash.", page=_BUCKETS)


def gpu_request(function: api_pb2.Function) -> tuple[str, int]:
    """Return the name and number of the GPUs that a function asks for; ("", 0) without."""
    config = function.resources.gpu_config
    if not config.gpu_type:
        return "", 0
    return config.gpu_type.upper(), max(config.count, 1)
