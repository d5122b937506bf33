"""Whether a machine fits a function and its configuration, before anything is sent. Pure.

A rented GPU that waits for its data costs as much as one that computes. The numbers of a function stand in its file
(`jobs/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from modal_proto import api_pb2

from deploy.modal.functions import Function
from deploy.modal.resources import MIB, Profile, profile_names, profile_of
from trimtab.emulation.modal.limits import refusals
from trimtab.errors import BudgetError, UsageError

GPU_SHARE: Final = 0.9
"""What of a GPU's memory is planned with: fragments and the libraries' workspaces take the rest."""


def require_fit(function: Function, name: str, profile: Profile, config: Mapping[str, Any], source: str) -> None:
    """Refuse a machine that starves or bursts. `source` is the configuration's file. Raises BudgetError (exit 6)."""
    problems = tuple(misfits(function, profile, config))
    if not problems:
        return
    fitting = [other for other in profile_names() if not any(misfits(function, profile_of(other), config))]
    raise BudgetError(
        f"the machine {name} does not fit {function.name} with {source}",
        why="; ".join(problems),
        remedy=f"change these in {source}, or take --profile {' or '.join(fitting)}"
        if fitting
        else f"change these in {source}: no machine of deploy/modal/profiles/ fits it",
    )


def misfits(function: Function, profile: Profile, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a machine does not fit, with both numbers."""
    if profile.gpu and function.packages == "cpu":
        yield f"{function.name} computes on processors, and it has a {profile.gpu} that would be paid for nothing"
    if profile.gpu_count > 1:
        yield f"{function.name} computes on one GPU, and it has {profile.gpu_count}"
    workers = _number(config, function.workers_key)
    if function.worker_cores * workers > profile.cores:
        yield (
            f"{function.workers_key} is {workers}, which need {function.worker_cores * workers} cores"
            f" ({function.worker_cores} each), and it has {profile.cores:g}"
        )
    threads = _number(config, "threads") if function.runs in {"train", "evaluate"} else 0
    if threads > max(1, profile.cores):
        yield f"threads is {threads}, and it has {profile.cores:g} cores"
    needed_mib = function.main_mib + workers * function.worker_mib
    if needed_mib > profile.memory_mib:
        loading = f" with {workers} loading processes" if workers else ""
        yield f"{function.name}{loading} needs {needed_mib} MiB of memory, and it has {profile.memory_mib}"
    batch = -(-_number(config, function.batch_key) // max(1, _number(config, function.pieces_key)))
    room_mib = int(profile.gpu_bytes * GPU_SHARE / MIB)
    asked_mib = function.fixed_mib + batch * function.item_mib
    if profile.gpu and asked_mib > room_mib:
        most = max(0, (room_mib - function.fixed_mib) // max(1, function.item_mib))
        yield (
            f"{function.batch_key} has the GPU hold {batch} at once, which needs {asked_mib} MiB of its memory,"
            f" and {GPU_SHARE:.0%} of a {profile.gpu} are {room_mib}: at most {most}"
        )


def require_places(function: Function) -> None:
    """Refuse mount points that Modal refuses, and one that is used twice. Raises UsageError."""
    mounts = [api_pb2.VolumeMount(volume_id="results", mount_path=function.results)] if function.results else []
    buckets = [api_pb2.CloudBucketMount(mount_path=path) for path in (function.data, function.backup) if path]
    problems = refusals(api_pb2.Function(volume_mounts=mounts, cloud_bucket_mounts=buckets))
    if problems:
        raise UsageError(
            f"the mounts of function {function.name} are wrong",
            why=" ".join(map(str, problems)),
            remedy=f"mend deploy/modal/jobs/{function.job}/{function.name}.toml: its neighbours mount at /data and"
            " /results",
        )


def _number(config: Mapping[str, Any], key: str) -> int:
    """Return the value at a dotted path of a configuration; 0 for a key that it has not."""
    found = _at(config, key.split(".")) if key else None
    return found if isinstance(found, int) else 0


def _at(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
