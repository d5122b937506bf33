"""The front of a service: HAProxy in a container that stays while releases come and go behind it.

It publishes the service's port on loopback, keeps the record of the releases in a volume of its own, moves traffic from
one release to the next without a gap, and asks releases from inside their network. deploy/front/front.py is the program
in it; each method here is one `docker exec` of that.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from trimtab.errors import ProgramError
from trimtab.images.build import LABEL_INPUTS, LABEL_PROJECT, LABEL_SERVICE
from trimtab.images.container import (
    INSIDE_PORT,
    LOGS,
    container_name,
    container_or_none,
    creating,
    end,
    ensure_networks,
    inside_network,
    outside_network,
)
from trimtab.images.golden import NoReplyError, Reply, Upload
from trimtab.images.record import Record, record_of
from trimtab.units import MIB

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

MEMORY_BYTES: Final = 128 * MIB
_STATE: Final = "/state"
_UPLOAD: Final = "upload"
_STOP_S: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSpec:
    """How a front is run: its image by id, and the port on the host's loopback that it serves."""

    project: str
    service: str
    image: str
    port: int

    @property
    def name(self) -> str:
        """The container's name."""
        return container_name(self.project, self.service, "front")


def front_arguments(spec: FrontSpec) -> dict[str, Any]:
    """Return what the docker SDK is asked to create: not root, nothing writable but the record, on loopback only."""
    return {
        "image": spec.image,
        "name": spec.name,
        "read_only": True,
        "tmpfs": {"/run/front": "size=4m,mode=0700,uid=10001"},
        "volumes": {record_volume(spec.project, spec.service): {"bind": _STATE, "mode": "rw"}},
        "network": outside_network(spec.project),
        "ports": {f"{INSIDE_PORT}/tcp": ("127.0.0.1", spec.port)},
        "mem_limit": MEMORY_BYTES,
        "memswap_limit": MEMORY_BYTES,
        "pids_limit": 64,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart_policy": {"Name": "unless-stopped"},
        "log_config": LOGS,
        "labels": {LABEL_PROJECT: spec.project, LABEL_SERVICE: spec.service},
    }


def record_volume(project: str, service: str) -> str:
    """Return the name of the volume that holds a service's record."""
    return f"{project}-{service}-front"


def front_tag(project: str) -> str:
    """Return the name of the fronts' image."""
    return f"{project}/front:haproxy"


def front_build_argv(*, project: str, base_image: str, inputs: str, revision: str, context: Path) -> tuple[str, ...]:
    """Return the argv that builds the fronts' image into this machine's engine."""
    return (
        "docker", "buildx", "build",
        "--builder", "default",
        "--progress", "plain",
        "--load",
        "--provenance", "false",
        "--tag", front_tag(project),
        "--build-arg", f"BASE={base_image}",
        "--build-arg", f"REVISION={revision}",
        "--label", f"{LABEL_PROJECT}={project}",
        "--label", f"{LABEL_INPUTS}={inputs}",
        str(context),
    )  # fmt: skip


class Front:
    """A front that runs."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def port(self) -> int | None:
        """The port on the host's loopback, None while the container does not run."""
        bindings = self._container.attrs["NetworkSettings"]["Ports"].get(f"{INSIDE_PORT}/tcp") or []
        return int(bindings[0]["HostPort"]) if bindings else None

    @property
    def container(self) -> Container:
        """The container itself."""
        return self._container

    @property
    def image(self) -> str:
        """The id of the image that it runs."""
        return str(self._container.attrs["Image"])

    def record(self) -> Record:
        """Return the record, once no switch is under way any more."""
        return record_of(self._call("state")["record"])

    def record_at_once(self) -> Record:
        """Return the record as it lies there, without starting a program; a switch may be under way."""
        from docker.errors import NotFound

        try:
            chunks, _ = self._container.get_archive(f"{_STATE}/releases.json")
        except NotFound:
            return Record()
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            file = archive.extractfile("releases.json")
            return record_of(json.loads(file.read() if file is not None else b""))

    def put_in_force(self, record: Record, *, target: str | None) -> None:
        """Write the record and move traffic to its live release, at `target` (HOST:PORT). Raises ProgramError.

        When it fails, what was in force still is. When the caller dies, it is carried through.
        """
        self._call("switch", json.dumps(record.document(target=target)))

    def mend(self) -> Record:
        """Bring in force what the record says, where a switch was cut off in the middle, and return it."""
        return record_of(self._call("mend")["record"])

    def drain(self, *, within_s: float) -> bool:
        """Wait until the requests from before the last switch have ended; tell whether they have."""
        return bool(self._call("drain", str(within_s))["drained"])

    def ask(self, address: str, *, timeout_s: float, upload: Upload | None) -> Reply:
        """Ask an address inside the service's network. Raises NoReplyError."""
        words = ["ask", "GET" if upload is None else "POST", address, str(timeout_s)]
        if upload is not None:
            self._container.put_archive(_STATE, _archive_of(_UPLOAD, upload.content))
            words += [upload.content_type, _UPLOAD]
        answer = self._call(*words)
        if "error" in answer:
            raise NoReplyError(answer["error"])
        return Reply(status=answer["status"], text=answer["text"])

    def _call(self, *words: str) -> dict[str, Any]:
        ended = self._container.exec_run(["python", "-S", "-m", "front", *words], demux=True)
        stdout, stderr = cast("tuple[bytes | None, bytes | None]", ended.output)
        try:
            answer: dict[str, Any] = json.loads(stdout or b"")
        except ValueError:
            said = (stdout or b"") + (stderr or b"")
            answer = {"failed": said.decode(errors="replace")[-1000:] or "it said nothing"}
        if ended.exit_code != 0 or "failed" in answer:
            raise ProgramError(
                f"the front {self._container.name} could not `{words[0]}`",
                why=str(answer.get("failed", answer)),
                remedy=f"see `docker logs {self._container.name}`; what was in force before still is",
            )
        return answer


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """Asks a release from inside the service's network; `host` is HOST:PORT there."""

    front: Front
    host: str

    @property
    def address(self) -> str:
        """What it is called in messages."""
        return f"http://{self.host}"

    def ask(self, path: str, *, timeout_s: float, upload: Upload | None = None) -> Reply:
        """GET a path, or POST to it. Raises NoReplyError."""
        return self.front.ask(self.address + path, timeout_s=timeout_s, upload=upload)


def front_or_none(client: DockerClient, project: str, service: str) -> Front | None:
    """Return the front of a service when it runs, else None."""
    container = container_or_none(client, project, service, "front")
    return Front(container) if container is not None and container.status == "running" else None


def ensure_front(client: DockerClient, spec: FrontSpec, *, say: Callable[[str], None]) -> Front:
    """Return the front, started where it does not run, and replaced where its image or its port is another one.

    That replacement is the one moment when the port is not held, well under a second. Raises ProgramError; the front
    before it then serves again.
    """
    ensure_networks(client, spec.project)
    before = container_or_none(client, spec.project, spec.service, "front-before")
    present = container_or_none(client, spec.project, spec.service, "front")
    if present is not None and present.status == "running" and _is_as_wanted(present, spec):
        if before is not None:  # a replacement was cut off after it had succeeded
            end(before, gently=False)
        return Front(present)
    if before is not None:  # a replacement was cut off: what stands in its place may never have run
        if present is not None:
            end(present, gently=False)
        before.rename(spec.name)
        before.start()
        return ensure_front(client, spec, say=say)
    return Front(_started(client, spec, present, say))


def _started(client: DockerClient, spec: FrontSpec, present: Container | None, say: Callable[[str], None]) -> Container:
    """Start a front, in the place of the one that is there."""
    if present is not None:
        say("the front is replaced: its image or its port is another one")
        present.rename(f"{spec.name}-before")
    labels = {LABEL_PROJECT: spec.project, LABEL_SERVICE: spec.service}
    client.volumes.create(record_volume(spec.project, spec.service), labels=labels)  # nothing, where it stands
    try:
        with creating(client, spec.name):
            container: Container = client.containers.create(**front_arguments(spec))
            client.networks.get(inside_network(spec.project)).connect(container)
            if present is not None:
                present.stop(timeout=_STOP_S)
            container.start()
        _wait_until_it_answers(container)
    except BaseException:
        if (half := container_or_none(client, spec.project, spec.service, "front")) is not None:
            end(half, gently=False)
        if present is not None:
            present.rename(spec.name)
            present.start()
        raise
    if present is not None:
        end(present, gently=False)
    container.reload()
    return container


def _wait_until_it_answers(container: Container) -> None:
    """Return once HAProxy has a worker. Raises ProgramError when it ends instead."""
    front = Front(container)
    for _ in range(100):
        container.reload()
        if container.status != "running":
            said = container.logs(tail=10).decode(errors="replace")
            raise ProgramError(
                f"the front {container.name} does not run", why=said, remedy="see its last lines; build its image anew"
            )
        with suppress(ProgramError):
            front.mend()
            return
    raise ProgramError(
        f"the front {container.name} does not answer",
        why="HAProxy has no worker",
        remedy=f"see `docker logs {container.name}`",
    )


def _is_as_wanted(container: Container, spec: FrontSpec) -> bool:
    front = Front(container)
    return front.image == spec.image and front.port == spec.port


def _archive_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()
