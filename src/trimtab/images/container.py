"""The containers of a service's releases, their network, and their end. Nothing here is published.

Touches only containers and networks that carry this project's label, on the engine that it is given.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import ProgramError
from trimtab.images.build import LABEL_PROJECT, LABEL_SERVICE

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

    from trimtab.catalogue.model import Limits

LABEL_RELEASE: Final = "org.trimtab.release"
LABEL_NUMBER: Final = "org.trimtab.number"
INSIDE_PORT: Final = 8000
MODELS: Final = "/models"
MANIFEST: Final = "models.toml"
# A service that logs without end fills no disk; the engine's default has no limit.
LOGS: Final = {"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}}
_ALL_GPUS: Final = [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}]
_STOP_S: Final = 15
_LOG_LINES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """How a service's release is run. `release` is a digest of everything that makes it what it is.

    `environment` holds the service's limits, by their names in docs/services.md.
    """

    project: str
    service: str
    image: str
    release: str
    memory_bytes: int
    models_volume: str
    environment: Mapping[str, str]
    gpu: bool = False

    def name(self, number: int) -> str:
        """Return the name of this service's container of a release."""
        return container_name(self.project, self.service, number)


def run_arguments(spec: ContainerSpec, *, number: int) -> dict[str, Any]:
    """Return what the docker SDK is asked to run: not root, nothing writable but /tmp, no capability, no way out.

    It is started again after a crash only once it is live (`keep`): a release that is tried has one attempt.
    """
    return {
        "image": spec.image,
        "name": spec.name(number),
        "detach": True,
        "read_only": True,
        "tmpfs": {"/tmp": "size=64m,mode=1777"},  # noqa: S108 - inside the container
        "volumes": {spec.models_volume: {"bind": MODELS, "mode": "ro"}},
        "network": inside_network(spec.project),
        "environment": {
            "HOST": "0.0.0.0",  # noqa: S104 - inside the container, on a network without a way out
            "PORT": str(INSIDE_PORT),
            "MODELS_DIR": MODELS,
            "MODELS_MANIFEST": f"{MODELS}/{MANIFEST}",
            **spec.environment,
        },
        "mem_limit": spec.memory_bytes,
        "memswap_limit": spec.memory_bytes,
        "pids_limit": 256,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "log_config": LOGS,
        "device_requests": _ALL_GPUS if spec.gpu else [],
        "labels": {
            LABEL_PROJECT: spec.project,
            LABEL_SERVICE: spec.service,
            LABEL_RELEASE: spec.release,
            LABEL_NUMBER: str(number),
        },
    }


def limits_environment(limits: Limits) -> dict[str, str]:
    """Return a service's limits as its container takes them (docs/services.md)."""
    return {
        "MAX_BODY_BYTES": str(limits.body),
        "MAX_PIXELS": str(limits.pixels),
        "MAX_RESULTS": str(limits.results),
        "MAX_REQUESTS_IN_FLIGHT": str(limits.in_flight),
        "UPLOAD_TIMEOUT_S": f"{limits.upload:g}",
    }


def container_name(project: str, service: str, role: str | int) -> str:
    """Return a container's name: its role is the number of a release, or `front`."""
    return f"{project}-{service}-{role}"


def inside_network(project: str) -> str:
    """Return the name of the network that fronts and releases share. It has no way out."""
    return f"{project}-inside"


def outside_network(project: str) -> str:
    """Return the name of the network through which the fronts are published."""
    return f"{project}-front"


def ensure_networks(client: DockerClient, project: str) -> None:
    """Make the project's two networks where they are not. Raises ProgramError."""
    from docker.errors import APIError

    for name, internal in ((inside_network(project), True), (outside_network(project), False)):
        if _has_network(client, project, name):
            continue
        try:
            client.networks.create(name, internal=internal, check_duplicate=True, labels={LABEL_PROJECT: project})
        except APIError as error:
            if _has_network(client, project, name):  # a release of another service made it meanwhile
                continue
            raise ProgramError(
                f"the engine did not make the network {name}",
                why=str(error.explanation or error),
                remedy="see `docker network ls`: remove what nobody uses any more, or what has this name",
            ) from error


def _has_network(client: DockerClient, project: str, name: str) -> bool:
    ours = client.networks.list(filters={"label": f"{LABEL_PROJECT}={project}"})
    return any(network.name == name for network in ours)


def container_or_none(client: DockerClient, project: str, service: str, role: str | int) -> Container | None:
    """Return the container that has a role for a service, running or not, or None.

    Raises ProgramError where a container of that name is not this project's.
    """
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


def releases_of(client: DockerClient, project: str, service: str) -> Mapping[int, Container]:
    """Return the containers of a service's releases by their numbers, running or not."""
    labels = [f"{LABEL_PROJECT}={project}", f"{LABEL_SERVICE}={service}", LABEL_NUMBER]
    found = client.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
    return {int(container.labels[LABEL_NUMBER]): container for container in found}


def start(client: DockerClient, spec: ContainerSpec, number: int) -> Container:
    """Start the container of a release. Raises ProgramError; nothing is left then."""
    container_or_none(client, spec.project, spec.service, number)  # refuses a stranger's
    with creating(client, spec.name(number)):
        container: Container = client.containers.run(**run_arguments(spec, number=number))
    return container


def keep(container: Container) -> None:
    """Let a container come back after a crash and after a restart of the machine: it is live from now on."""
    policy: Any = {"Name": "unless-stopped", "MaximumRetryCount": 0}  # the stubs know neither
    container.update(restart_policy=policy)


@contextmanager
def creating(client: DockerClient, name: str) -> Iterator[None]:
    """Take away what the engine created before it failed to start it, and say so. Raises ProgramError."""
    from docker.errors import APIError, NotFound

    try:
        yield
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            with suppress(NotFound):
                client.containers.get(name).remove(force=True)
        raise ProgramError(
            f"the engine could not start {name}",
            why=str(error.explanation or error),
            remedy="end what holds its port or its name, or see `docker ps -a`; then run the same command again",
        ) from error


def is_running(container: Container) -> bool:
    """Tell whether a container runs now."""
    from docker.errors import NotFound

    try:
        container.reload()
    except NotFound:
        return False
    return bool(container.status in ("created", "running"))


def last_lines(container: Container) -> str:
    """Return the last lines that a container wrote, as they are shown to a person."""
    lines = container.logs(tail=_LOG_LINES).decode(errors="replace").splitlines()
    return "\n".join(["    its last lines:", *(f"    | {line}" for line in lines)])


def end(container: Container, *, gently: bool = True) -> None:
    """Stop a container, letting its requests end, and return only once it is gone: its name is needed again."""
    from docker.errors import APIError, NotFound

    with suppress(NotFound):
        if gently and container.status == "running":
            container.stop(timeout=_STOP_S)
        try:
            container.remove(force=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:  # it is being removed already, as one that ends may be
                raise
            container.wait(condition="removed", timeout=_STOP_S)


def stop_all(client: DockerClient, project: str) -> tuple[str, ...]:
    """Stop and remove this project's containers and networks, fronts first; return the containers' names."""
    from docker.errors import APIError

    label = f"{LABEL_PROJECT}={project}"
    found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    for container in sorted(found, key=lambda c: LABEL_NUMBER in c.labels):
        end(container)
    for network in client.networks.list(filters={"label": label}):
        with suppress(APIError):  # somebody else's container is in it
            network.remove()
    return tuple(sorted(str(container.name) for container in found))


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
