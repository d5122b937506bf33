"""Containers of services on this machine's engine: the candidate, the serving one, and the exchange of the two.

Touches only containers that carry this project's label.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import HealthError, ProgramError
from trimtab.images.build import LABEL_PROJECT, LABEL_SERVICE
from trimtab.images.golden import LOGS_REMEDY, GoldenAnswer, wait_until_healthy

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LABEL_RELEASE: Final = "org.trimtab.release"
INSIDE_PORT: Final = 8000
_STOP_S: Final = 15
_LOG_LINES: Final = 20

Check = Callable[[str], GoldenAnswer]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """How a service's container is run. `release` is a digest of everything that makes it what it is."""

    project: str
    service: str
    image: str
    release: str
    port: int
    memory_bytes: int
    start_s: float
    models: Path

    def name(self, role: str) -> str:
        """Return the name of this service's container in a role."""
        return container_name(self.project, self.service, role)


def run_arguments(spec: ContainerSpec, *, role: str, port: int | None) -> dict[str, Any]:
    """Return what the docker SDK is asked to run: not root, nothing writable but /tmp, no capability, on loopback."""
    return {
        "image": spec.image,
        "name": spec.name(role),
        "detach": True,
        "read_only": True,
        "tmpfs": {"/tmp": "size=64m,mode=1777"},  # noqa: S108 - inside the container
        "volumes": {str(spec.models): {"bind": "/models", "mode": "ro"}},
        "ports": {f"{INSIDE_PORT}/tcp": ("127.0.0.1", port)},
        "environment": {"PORT": str(INSIDE_PORT)},
        "mem_limit": spec.memory_bytes,
        "memswap_limit": spec.memory_bytes,
        "pids_limit": 256,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart_policy": {"Name": "on-failure", "MaximumRetryCount": 3} if role == "serving" else {},
        "labels": {
            LABEL_PROJECT: spec.project,
            LABEL_SERVICE: spec.service,
            LABEL_RELEASE: spec.release,
        },
    }


def container_name(project: str, service: str, role: str) -> str:
    """Return a container's name in a role: `serving`, `candidate`, or `before` while the two change places."""
    return f"{project}-{service}-{role}"


def container_or_none(client: DockerClient, project: str, service: str, role: str) -> Container | None:
    """Return the container that has a role for a service, running or not, or None."""
    from docker.errors import NotFound

    try:
        container: Container = client.containers.get(container_name(project, service, role))
    except NotFound:
        return None
    if container.labels.get(LABEL_PROJECT) != project:
        raise ProgramError(
            f"the container name {container.name} is taken",
            why="a container of that name stands on this engine, and it is not ours",
            remedy=f"rename it: docker rename {container.name} NAME",
        )
    return container


def serving_address(container: Container) -> str:
    """Return the address on loopback that a container answers at. Raises HealthError when it does not run."""
    container.reload()
    port = _port_of(container)
    if port is None:
        raise HealthError(
            f"{container.name} answers nowhere",
            why=f"it is not running: {container.status}, exit code {container.attrs['State']['ExitCode']}",
            remedy=LOGS_REMEDY,
        )
    return f"http://127.0.0.1:{port}"


def holds_port(client: DockerClient, project: str, service: str, port: int) -> bool:
    """Tell whether a port is held by this service's own container, also one that a cut-off exchange left."""
    containers = (container_or_none(client, project, service, role) for role in ("serving", "before"))
    return any(container is not None and _port_of(container) == port for container in containers)


def try_candidate(client: DockerClient, spec: ContainerSpec, *, check: Check, say: Say) -> None:
    """Start a candidate on a free port, check it, and take it away again. Raises HealthError with its last lines."""
    _remove(client, spec, "candidate")
    try:
        _require_good(_start(client, spec, role="candidate", port=None), spec, check, say)
    finally:
        _remove(client, spec, "candidate")


def replace_serving(client: DockerClient, spec: ContainerSpec, *, check: Check, say: Say) -> GoldenAnswer:
    """Put the new release in the serving one's place; let the one before it serve again when that fails.

    Renamed before it is stopped: from then on its name says that an exchange is under way, to the next run as well.
    """
    before = container_or_none(client, spec.project, spec.service, "before")
    try:
        if before is not None:  # an exchange was cut off: what stands in its place was never found good
            _remove(client, spec, "serving")
        elif (before := container_or_none(client, spec.project, spec.service, "serving")) is not None:
            before.rename(spec.name("before"))
        if before is not None:
            say("the serving container stops")
            before.stop(timeout=_STOP_S)
        answer = _require_good(_start(client, spec, role="serving", port=spec.port), spec, check, say)
    except BaseException:
        if before is None:
            _remove(client, spec, "serving")
        else:
            _serve_as_before(client, spec)
        raise
    _remove(client, spec, "before")
    return answer


def _serve_as_before(client: DockerClient, spec: ContainerSpec) -> None:
    """Let the release before serve again, unless it was never renamed."""
    from docker.errors import APIError

    before = container_or_none(client, spec.project, spec.service, "before")
    if before is None:
        return
    _remove(client, spec, "serving")
    before.rename(spec.name("serving"))
    try:
        before.restart(timeout=_STOP_S)  # and not start: it may be stopping at this moment
    except APIError as error:
        raise ProgramError(
            f"the release that served before, {spec.name('serving')}, could not be started again",
            why=str(error.explanation or error),
            remedy=f"end what holds its port; then docker start {spec.name('serving')}",
        ) from error


def stop_all(client: DockerClient, project: str) -> tuple[str, ...]:
    """Stop and remove this project's containers; return their names."""
    label = f"{LABEL_PROJECT}={project}"
    found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    for container in found:
        if container.status == "running":
            container.stop(timeout=_STOP_S)
        container.remove(force=True)
    return tuple(str(container.name) for container in found)


def port_is_taken(port: int) -> str | None:
    """Return who holds a port on loopback, as far as it can be told, or None when it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return f"another program listens on it{_holder_of(port)}"
    return None


def _holder_of(port: int) -> str:
    import psutil

    with suppress(psutil.Error):  # other people's programs are not told to everybody, and one may end meanwhile
        for connection in psutil.net_connections("tcp"):
            is_it = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            if is_it and connection.pid:
                return f": {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _port_of(container: Container) -> int | None:
    """Return the port on this machine that a container holds, None while it does not run."""
    bindings = container.attrs["NetworkSettings"]["Ports"].get(f"{INSIDE_PORT}/tcp") or []
    return int(bindings[0]["HostPort"]) if bindings else None


def _start(client: DockerClient, spec: ContainerSpec, *, role: str, port: int | None) -> Container:
    from docker.errors import APIError

    try:
        container: Container = client.containers.run(**run_arguments(spec, role=role, port=port))
    except APIError as error:
        _remove(client, spec, role)  # the engine creates a container before it fails to start it
        raise ProgramError(
            f"the engine could not start {spec.name(role)}",
            why=str(error.explanation or error),
            remedy="end what holds its port, or see `docker ps -a`; then run the same command again",
        ) from error
    return container


def _require_good(container: Container, spec: ContainerSpec, check: Check, say: Say) -> GoldenAnswer:
    def is_running() -> bool:
        container.reload()
        return bool(container.status in ("created", "running"))

    try:
        address = serving_address(container)
        say(f"waiting for {address}/health")
        wait_until_healthy(address, within_s=spec.start_s, is_running=is_running)
        say(f"asking {address} the golden request")
        return check(address)
    except HealthError as error:
        raise HealthError(error.what, why=f"{error.why}\n{_logs_of(container)}", remedy=error.remedy) from error


def _logs_of(container: Container) -> str:
    lines = container.logs(tail=_LOG_LINES).decode(errors="replace").splitlines()
    return "\n".join(["    its last lines:", *(f"    | {line}" for line in lines)])


def _remove(client: DockerClient, spec: ContainerSpec, role: str) -> None:
    """Take a container away, and return only once it is gone: its name is needed again."""
    from docker.errors import APIError, NotFound

    container = container_or_none(client, spec.project, spec.service, role)
    if container is None:
        return
    try:
        container.remove(force=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:  # it is being removed already, as one that ends may be
            raise
        with suppress(NotFound):
            container.wait(condition="removed", timeout=_STOP_S)
