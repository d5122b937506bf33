"""Whose turn it is to change what an engine serves: one release or rollback of a service at a time, whoever asks.

The turn is a container of a fixed name on that engine. The engine makes it for one caller only, so machines that know
nothing of each other are kept apart. Its one process ends when the connection of who holds it does, or when that one
was silent for a minute, and the engine takes it away: what was killed holds nothing, nor what lost its machine.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import ProgramError
from trimtab.images.build import LABEL_PROJECT, LABEL_SERVICE
from trimtab.images.container import LOGS, container_name, container_or_none, end
from trimtab.units import MIB, format_duration

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

Say = Callable[[str], None]

LABEL_HOLDER: Final = "org.trimtab.holder"
LABEL_PURPOSE: Final = "org.trimtab.purpose"
_ROLE: Final = "turn"
_LOOK_S: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSpec:
    """A turn as it is asked for. `image` is any image there with a shell; `purpose` is told to those who wait.

    Who holds it and says nothing for `silent_s` has lost it. A caller makes the container, then starts it: one that
    stands between the two for `starts_within_s` was killed there. Nobody waits longer than `patience_s`.
    """

    project: str
    service: str
    image: str
    purpose: str
    silent_s: int = 60
    starts_within_s: float = 20.0
    patience_s: float = 600.0

    @property
    def name(self) -> str:
        """The container's name."""
        return container_name(self.project, self.service, _ROLE)


def turn_arguments(spec: TurnSpec, *, holder: str) -> dict[str, Any]:
    """Return what the docker SDK is asked to create: a process that reads, may do nothing, and is gone when it ends."""
    return {
        "image": spec.image,
        "name": spec.name,
        "command": ["bash", "-c", f"while read -r -t {spec.silent_s}; do :; done"],
        "stdin_open": True,
        "auto_remove": True,
        "read_only": True,
        "network_mode": "none",
        "mem_limit": 32 * MIB,
        "memswap_limit": 32 * MIB,
        "pids_limit": 8,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "log_config": LOGS,
        "labels": {
            LABEL_PROJECT: spec.project,
            LABEL_SERVICE: spec.service,
            LABEL_HOLDER: holder,
            LABEL_PURPOSE: spec.purpose,
        },
    }


class Turn:
    """A turn that is ours."""

    def __init__(self, container: Container, *, silent_s: int) -> None:
        self._container = container
        self._silent_s = silent_s

    def require(self) -> None:
        """Raise ProgramError when it is not ours any more: somebody else may have begun."""
        from docker.errors import NotFound

        with suppress(NotFound):
            self._container.reload()
            if self._container.status == "running":
                return
        raise ProgramError(
            "the release was stopped before it counted: it was not its turn any more",
            why=f"this machine slept or lost its connection for {self._silent_s} s, or all was stopped meanwhile",
            remedy="see `trimtab images releases` for what serves now, then run the same command again",
        )


@contextmanager
def turn(client: DockerClient, spec: TurnSpec, *, say: Say) -> Iterator[Turn]:
    """Wait until nobody else changes the service on this engine, and hold that off until the block ends.

    Raises ProgramError, naming who has it, when that takes too long.
    """
    container, connection = _taken(client, spec, say)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(connection, ended, spec.silent_s / 6), name="turn", daemon=True)
    try:
        beating.start()
        yield Turn(container, silent_s=spec.silent_s)
    finally:
        ended.set()
        beating.join()
        try:
            end(container, gently=False)
        finally:
            _close(connection)


def _taken(client: DockerClient, spec: TurnSpec, say: Say) -> tuple[Container, Any]:
    """Return the container that is our turn, and the connection that keeps it."""
    began_s = time.monotonic()
    told = idle = ""
    idle_since_s = began_s
    while True:
        if (mine := _try_to_take(client, spec)) is not None:
            return mine
        now_s = time.monotonic()
        other = container_or_none(client, spec.project, spec.service, _ROLE)
        if other is not None:
            if other.status == "running":
                idle = ""
            elif other.id != idle:
                idle, idle_since_s = str(other.id), now_s
            elif now_s - idle_since_s > spec.starts_within_s:
                end(other, gently=False)  # by its id: what another caller made meanwhile stays
                continue
            if other.id != told:
                say(f"waiting for the {_described(other)}")
                told = str(other.id)
            if now_s - began_s > spec.patience_s:
                raise ProgramError(
                    f"{spec.service} is being changed by somebody else",
                    why=f"the {_described(other)} has not ended in {format_duration(spec.patience_s)}",
                    remedy=f"ask there; `docker rm --force {spec.name}` on that engine stops it before it counts",
                )
        time.sleep(_LOOK_S)


def _try_to_take(client: DockerClient, spec: TurnSpec) -> tuple[Container, Any] | None:
    """Return our container and its connection, or None when another one has the name."""
    from docker.errors import APIError, NotFound

    container: Container | None = None
    try:
        container = client.containers.create(**turn_arguments(spec, holder=_who()))
        connection = container.attach_socket(params={"stdin": 1, "stream": 1})
        container.start()
    except NotFound:
        if container is None:
            raise  # there is no such image
        return None  # so slow that another caller took us for dead
    except BaseException as error:
        if isinstance(error, APIError) and error.status_code == HTTPStatus.CONFLICT:
            return None
        if container is not None:
            end(container, gently=False)
        raise
    return container, connection


def _beat(connection: Any, ended: threading.Event, each_s: float) -> None:
    """Say that we live, until the turn is not needed any more."""
    written_to = getattr(connection, "_sock", connection)  # the SDK gives a socket, or a file that can only be read
    with suppress(OSError):  # it is lost, which `require` tells
        while not ended.wait(each_s):
            written_to.sendall(b"\n")


def _close(connection: Any) -> None:
    connection._response.close()  # the SDK keeps it there, and with it the socket
    connection.close()


def _described(container: Container) -> str:
    labels = container.labels
    since = str(container.attrs["Created"])[:19]
    return f"{labels.get(LABEL_PURPOSE)} by {labels.get(LABEL_HOLDER)} since {since}Z"


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
