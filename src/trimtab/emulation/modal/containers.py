"""Attempts in containers of this machine's Docker engine, one each. Touches containers of its own label only."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.emulation.modal.attempt import (
    WORKDIR,
    AttemptEnd,
    AttemptSpec,
    LogSink,
    LogStream,
    entry_environment,
)
from trimtab.emulation.modal.client_packages import PKG, lay_out_client
from trimtab.emulation.modal.limits_here import Share, share_of
from trimtab.emulation.modal.loopback import Loopback
from trimtab.emulation.modal.place import (
    ARGUMENTS_PATH,
    AttemptPlace,
    Bind,
    Views,
    client_binds,
    plane_name,
    sweep_places,
)
from trimtab.errors import ProgramError
from trimtab.images.engine import connect

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

    from trimtab.emulation.modal.images import DockerImages

LABEL: Final = "org.trimtab.modal.plane"
_SHARED_MEMORY_BYTES: Final = 1 << 30
_ENTRY: Final = ("-m", "modal._container_entrypoint")
# Without a network of its own the plane is reached through sockets that we open inside, just after it has started.
_PATIENT_ENTRY: Final = """
import os, runpy, socket, time
for port in os.environ.pop("TRIMTAB_PORTS").split():
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
            break
        except OSError:
            time.sleep(0.01)
runpy.run_module("modal._container_entrypoint", run_name="__main__", alter_sys=True)
"""


class DockerRunner:
    """Starts one container an attempt, from the image that the client sent."""

    def __init__(self, state_dir: Path, volumes: Views, images: DockerImages, aws_state_dir: Path | None) -> None:
        self._places = state_dir / "attempts"
        self._client_root = state_dir / "client"
        self._volumes, self._images, self._aws = volumes, images, aws_state_dir
        self._label = plane_name(state_dir)
        self._told: set[tuple[str, str]] = set()

    async def start(self, spec: AttemptSpec, log: LogSink) -> DockerAttempt:
        """Start an attempt. Raises TrimtabError; then nothing is left of it."""
        share = share_of(spec)
        for notice in share.notices:
            if (spec.function_id, notice) not in self._told:
                self._told.add((spec.function_id, notice))
                log(LogStream.SYSTEM, f"{notice}\n")
        place = AttemptPlace(self._places / spec.task_id, spec.task_id, self._volumes)
        binds = await place.prepare(spec, aws_state_dir=self._aws)
        attempt = None
        try:
            client = await asyncio.to_thread(connect)
            image = self._images.reference(spec.image)
            packages = await asyncio.to_thread(lay_out_client, self._client_root)
            container = await asyncio.to_thread(
                self._create, client, spec, image, share, (*binds, *client_binds(packages))
            )
            attempt = DockerAttempt(client, container, place, log, asyncio.get_running_loop())
            await attempt.begin(spec)
        except BaseException:
            if attempt is None:
                await place.remove()
            else:
                await attempt.close()
            raise
        return attempt

    async def sweep(self) -> None:
        """Take away what attempts of an earlier plane left behind."""
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        client = connect()
        remove_containers(client, self._label)
        self._images.sweep(client)
        client.close()
        sweep_places(self._places)

    def _create(
        self, client: DockerClient, spec: AttemptSpec, image: str, share: Share, binds: tuple[Bind, ...]
    ) -> Container:
        from docker.errors import APIError, ImageNotFound

        try:
            container: Container = client.containers.create(
                **create_arguments(spec, image=image, share=share, binds=binds, label=self._label)
            )
        except ImageNotFound as error:
            self._images.forget(spec.image)
            raise ProgramError(
                f"the image of {spec.function_name} is not in the engine any more",
                why=f"{image} was removed",
                remedy="run it again: it is built anew",
            ) from error
        except APIError as error:
            raise ProgramError(
                f"the engine could not make a container for {spec.function_name}",
                why=str(error.explanation or error),
                remedy="see that the engine has room, then run it again",
            ) from error
        try:
            container.put_archive("/", _archive(spec))
        except BaseException:
            _remove(container)
            raise
        return container


class DockerAttempt:
    """A container that was made, and then started."""

    def __init__(
        self,
        client: DockerClient,
        container: Container,
        place: AttemptPlace,
        log: LogSink,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client, self._container, self._place = client, container, place
        self._log, self._loop = log, loop
        self._end: asyncio.Future[AttemptEnd] = loop.create_future()
        self._loopback: Loopback | None = None
        self._is_started = False

    async def begin(self, spec: AttemptSpec) -> None:
        """Start it, and hand on what it says."""
        output = await asyncio.to_thread(
            self._container.attach, stdout=True, stderr=True, stream=True, logs=False, demux=True
        )
        await asyncio.to_thread(self._start)
        self._is_started = True
        threading.Thread(target=self._follow, args=(output,), name=f"follow-{spec.task_id}", daemon=True).start()
        if spec.block_network:
            state = await asyncio.to_thread(self._client.api.inspect_container, str(self._container.id))
            self._loopback = Loopback(pid=state["State"]["Pid"], ports=spec.ports)
            await self._loopback.open()

    async def wait(self) -> AttemptEnd:
        """Return once it ended, and all of its output was handed to the log."""
        return await asyncio.shield(self._end)

    async def interrupt(self) -> None:
        """Send SIGINT to the entry point."""
        await asyncio.to_thread(self._signal, "SIGINT")

    async def kill(self) -> None:
        """End it and all that it started at once."""
        await asyncio.to_thread(self._signal, "SIGKILL")

    async def close(self) -> None:
        """Take its place away."""
        if self._loopback is not None:
            await self._loopback.close()
        await asyncio.to_thread(_remove, self._container)
        if self._is_started:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wait(), timeout=10)
        await self._place.remove()
        self._client.close()

    def _start(self) -> None:
        from docker.errors import APIError

        try:
            self._container.start()
        except APIError as error:
            raise ProgramError(
                f"the engine could not start {self._container.name}",
                why=str(error.explanation or error),
                remedy="see the engine's log, then run it again",
            ) from error

    def _signal(self, name: str) -> None:
        from docker.errors import APIError

        with suppress(APIError):  # it has ended
            self._container.kill(signal=name)

    def _follow(self, output: Any) -> None:
        """Hand on the output until it ends, then look how it ended. In a thread of its own."""
        decoders = [codecs.getincrementaldecoder("utf-8")(errors="replace") for _ in range(2)]
        streams = (LogStream.STDOUT, LogStream.STDERR)
        with suppress(Exception):  # the connection of a container that is removed just breaks
            for parts in output:
                for stream, decoder, part in zip(streams, decoders, parts, strict=True):
                    if part:
                        self._tell(stream, decoder.decode(part))
        end = self._look()
        with suppress(RuntimeError):  # the plane has ended meanwhile
            self._loop.call_soon_threadsafe(self._set_end, end)

    def _look(self) -> AttemptEnd:
        from docker.errors import APIError

        try:
            while True:
                state = self._client.api.inspect_container(str(self._container.id))["State"]
                if state["Status"] in ("exited", "dead"):
                    break
                time.sleep(0.01)
        except APIError:
            return AttemptEnd(exit_code=None, signal=9)  # it was removed
        code = int(state["ExitCode"])
        if code > 128:
            return AttemptEnd(exit_code=None, signal=code - 128, out_of_memory=bool(state["OOMKilled"]))
        return AttemptEnd(exit_code=code, signal=None, out_of_memory=bool(state["OOMKilled"]))

    def _tell(self, stream: LogStream, text: str) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._log, stream, text)

    def _set_end(self, end: AttemptEnd) -> None:
        if not self._end.done():
            self._end.set_result(end)


def create_arguments(
    spec: AttemptSpec, *, image: str, share: Share, binds: tuple[Bind, ...], label: str
) -> dict[str, Any]:
    """Return the arguments with which the engine's SDK makes the container of an attempt. Pure, but for types."""
    from docker.types import LogConfig, Mount

    environment = entry_environment(spec, arguments_path=ARGUMENTS_PATH)
    environment["PYTHONPATH"] = f"{WORKDIR}:{PKG}"
    command = list(_ENTRY)
    if spec.block_network:
        command = ["-c", _PATIENT_ENTRY]
        environment["TRIMTAB_PORTS"] = " ".join(map(str, spec.ports))
    mounts = [Mount(target=bind.path, source=str(bind.source), type="bind", read_only=bind.read_only) for bind in binds]
    return {
        "image": image,
        "entrypoint": ["python"],
        "command": command,
        "environment": environment,
        "working_dir": WORKDIR,
        "user": "0:0",
        "mounts": mounts,
        "network_mode": "none" if spec.block_network else "host",
        "labels": {LABEL: label, "org.trimtab.modal.task": spec.task_id},
        "name": f"modal-{spec.task_id}-{os.getpid()}",
        "log_config": LogConfig(type=LogConfig.types.NONE),
        "shm_size": _SHARED_MEMORY_BYTES,
        "security_opt": ["no-new-privileges"],
        **share.engine_arguments(),
    }


def _archive(spec: AttemptSpec) -> bytes:
    """Return a tar of the code that the client sent, and of the entry point's arguments."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        _add(archive, ARGUMENTS_PATH, spec.arguments, 0o600)
        for file in spec.files:
            _add(archive, file.path, file.content.read_bytes(), file.mode & 0o777 or 0o644)
    return stream.getvalue()


def _add(archive: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
    archive.addfile(entry, io.BytesIO(content))


def remove_containers(client: DockerClient, plane: str) -> int:
    """Take away every container of a plane, and return how many there were."""
    found = client.containers.list(all=True, filters={"label": f"{LABEL}={plane}"}, ignore_removed=True)
    for container in found:
        _remove(container)
    return len(found)


def _remove(container: Container) -> None:
    from docker.errors import APIError

    with suppress(APIError):  # it is gone, or going
        container.remove(force=True, v=True)
