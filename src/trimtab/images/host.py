"""The engine that a release goes to: this machine's, or that of a host over SSH; and how an image gets there.

The system's own ssh client is used, with its configuration, its keys and its known hosts: a host whose key is not known
is refused, never accepted by itself.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError, TrimtabError, UsageError
from trimtab.images.engine import connect, image_or_none
from trimtab.process import Command, Runner
from trimtab.units import format_size

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

Say = Callable[[str], None]
_HOST: Final = re.compile(r"(ssh://)?(?P<host>([A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?)")
_CHUNK_BYTES: Final = 1024 * 1024
_TIMEOUT_S: Final = 120
_SSH_TIMEOUT_S: Final = 60
_LINGERS_S: Final = 60
_TOLD_EACH: Final = 0.1


def require_host(text: str) -> str:
    """Return [USER@]HOST[:PORT] as ssh and the SDK take it. Raises UsageError for what is none."""
    match = _HOST.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a host",
            why="it must be [USER@]HOST[:PORT], or a name from ~/.ssh/config",
            remedy="for instance --host deploy@vm.example",
        )
    return match["host"]


def require_reachable(host: str, runner: Runner) -> None:
    """Ask a host's engine for its version. Raises ProgramError with what ssh said."""
    _ask_host(host, runner, "docker version --format '{{.Server.Version}}'")


@contextmanager
def engine_of(host: str | None, runner: Runner) -> Iterator[DockerClient]:
    """Give a client of a host's engine, or of this machine's. Raises ToolMissingError, ProgramError.

    One SSH connection brings the engine's socket here for as long as it is entered: a socket in a folder of our own,
    no port. When we are killed, ssh ends by itself a minute later.
    """
    if host is None:
        with engine_errors(None), closing(connect()) as here:
            yield here
        return
    target = _ask_host(host, runner, "docker context inspect --format '{{.Endpoints.docker.Host}}'").strip()
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        control = ("-S", f"{folder}/ssh")
        socket = target.removeprefix("unix://").removeprefix("tcp://")
        tunnel = (
            "-f", "-N", "-M", *control,
            "-o", f"ControlPersist={_LINGERS_S}",
            "-o", "ExitOnForwardFailure=yes",
            "-L", f"{folder}/engine:{socket}",
        )  # fmt: skip
        runner.run(Command(argv=_ssh_argv(host, *tunnel), timeout_s=_SSH_TIMEOUT_S, hint=_hint(host)))
        try:
            with engine_errors(host), closing(_client(f"unix://{folder}/engine")) as there:
                yield there
        finally:
            with suppress(ProgramError):  # it has gone already
                runner.run(Command(argv=_ssh_argv(host, *control, "-O", "exit"), timeout_s=_SSH_TIMEOUT_S))


def _client(address: str) -> DockerClient:
    import docker

    return docker.DockerClient(base_url=address, timeout=_TIMEOUT_S)


def _ask_host(host: str, runner: Runner, words: str) -> str:
    """Return what a command says on a host."""
    command = Command(argv=(*_ssh_argv(host), words), timeout_s=_SSH_TIMEOUT_S, hint=_hint(host))
    return runner.run(command).stdout


def _ssh_argv(host: str, *options: str) -> tuple[str, ...]:
    """Return the argv of ssh: it asks nobody anything, and refuses a host whose key it does not know."""
    name, _, port = host.partition(":")
    checked = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes")
    return ("ssh", *checked, *(("-p", port) if port else ()), *options, "--", name)


def _hint(host: str) -> str:
    name = host.partition(":")[0]
    return f"see that `ssh {name}` works without a question (its key known, yours accepted), and that docker runs there"


@contextmanager
def engine_errors(host: str | None) -> Iterator[None]:
    """Say in three parts what an engine refuses, or that it went away. Raises ProgramError."""
    import requests
    import urllib3
    from docker.errors import APIError, DockerException

    where = "this machine" if host is None else host
    try:
        yield
    except TrimtabError:
        raise
    except APIError as error:
        raise ProgramError(
            f"the engine of {where} refused",
            why=str(error.explanation or error),
            remedy="mend the cause and run the same command again; what served before still serves",
        ) from error
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, BrokenPipeError) as error:
        raise ProgramError(
            f"the engine of {where} went away",
            why=str(error),
            remedy="run the same command again: it mends what was left; what served before still serves",
        ) from error


def ensure_image(
    here: DockerClient, there: DockerClient, image: Image, *, host: str | None, references: tuple[str, ...], say: Say
) -> str:
    """Have an image on a host, by its digest, and return its id there.

    Nothing travels when it is there already. It is pulled from the registry that has it by one of its `references`
    (REPOSITORY@sha256:...), else streamed.
    """
    if host is None or image_or_none(there, str(image.id)) is not None:
        return str(image.id)
    for reference in references:
        if (found := pulled_or_none(there, reference, say=say)) is not None:
            return found
    return _streamed(here, there, image, host=host, say=say)


def pulled_or_none(there: DockerClient, reference: str, *, say: Say) -> str | None:
    """Return the id of an image that an engine pulled by its digest, or None when its registry does not give it."""
    from docker.errors import APIError

    try:
        pulled = there.images.pull(reference)
    except APIError as error:
        say(f"{reference} cannot be pulled there: {str(error.explanation or error)[:120]}")
        return None
    say(f"pulled {reference}")
    return str(pulled.id)


def _streamed(here: DockerClient, there: DockerClient, image: Image, *, host: str, say: Say) -> str:
    size = int(image.attrs["Size"])
    say(f"{format_size(size)} of the image to {host}")

    def chunks() -> Iterator[bytes]:
        sent, told = 0, _TOLD_EACH
        for chunk in here.api.get_image(str(image.id), chunk_size=_CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if sent >= told * size:
                say(f"{min(100, 100 * sent // size)} % of the image to {host}")
                told += _TOLD_EACH

    loaded = there.images.load(chunks())  # type: ignore[arg-type]  # requests sends what it iterates over
    return str(loaded[0].id)
