"""Attempts without a Docker engine: processes in namespaces of their own. Needs root; touches its own folder only.

An attempt sees a root of its own (`namespace_entry.py` makes it): this system's programs read-only, the code that the
client sent, its Volumes and buckets; not the project, not other attempts. Its image's layers are not built: it runs on
the Python that the embedded Modal itself runs on, which is said.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from trimtab.emulation.modal.attempt import (
    WORKDIR,
    AttemptEnd,
    AttemptSpec,
    ImageDefinition,
    LogSink,
    LogStream,
    entry_environment,
)
from trimtab.emulation.modal.client_packages import PKG, lay_out_client
from trimtab.emulation.modal.limits_here import share_of
from trimtab.emulation.modal.loopback import Loopback
from trimtab.emulation.modal.place import ARGUMENTS_PATH, AttemptPlace, Views, client_binds, sweep_places
from trimtab.errors import ProgramError, ToolMissingError, TrimtabError
from trimtab.process import Command, ProcessRunner, Secret

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str | None:
    """Return why attempts cannot have namespaces of their own here, or None when they can."""
    if sys.platform != "linux":
        return "this system is not Linux"
    if os.geteuid() != 0:
        return "namespaces need root, and this runs as an ordinary user"
    return None


class NamespaceImages:
    """Builds nothing: every image is this machine's own Python."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def is_ready(self, image: ImageDefinition) -> bool:
        """Tell whether it was said already that an image is not built."""
        return image.image_id in self._seen

    async def ensure(self, image: ImageDefinition, log: LogSink) -> None:
        """Say that an image is not built."""
        if image.image_id not in self._seen and image.base is None:
            log(
                LogStream.SYSTEM,
                f"no Docker engine: no image is built, functions run on this machine's Python {sys.version.split()[0]}"
                " and its packages\n",
            )
        self._seen.add(image.image_id)


class NamespaceRunner:
    """Starts one process an attempt."""

    def __init__(self, state_dir: Path, volumes: Views, aws_state_dir: Path | None) -> None:
        self._places = state_dir / "attempts"
        self._client_root = state_dir / "client"
        self._volumes, self._aws = volumes, aws_state_dir

    async def start(self, spec: AttemptSpec, log: LogSink) -> NamespaceAttempt:
        """Start an attempt. Raises ToolMissingError without root; then nothing is left of it."""
        reason = missing()
        if reason is not None:
            raise ToolMissingError(
                f"{spec.function_name} cannot be run without a Docker engine",
                why=reason,
                remedy="start a Docker engine (scripts/setup-engine), or run `trimtab modal up` as root",
            )
        for notice in share_of(spec).notices:
            log(LogStream.SYSTEM, f"{notice}\n")
        folder = self._places / spec.task_id
        place = AttemptPlace(folder, spec.task_id, self._volumes)
        binds = await place.prepare(spec, aws_state_dir=self._aws)
        try:
            packages = await asyncio.to_thread(lay_out_client, self._client_root)
            what = {
                "root": str(folder / "root"),
                "binds": [
                    {"source": str(bind.source), "path": bind.path, "read_only": bind.read_only}
                    for bind in (*binds, *client_binds(packages))
                ],
                "files": [
                    {"path": file.path, "content": str(file.content), "mode": file.mode & 0o777 or 0o644}
                    for file in spec.files
                ],
                "python": [sys.prefix, sys.base_prefix],
                "arguments_path": ARGUMENTS_PATH,
                "argv": [sys.executable, "-m", "modal._container_entrypoint"],
                "workdir": WORKDIR,
                "block_network": spec.block_network,
                "ports": spec.ports,
                "memory_bytes": spec.memory_limit_mib * 1024 * 1024,
            }
            (folder / "arguments.bin").write_bytes(spec.arguments)
            (folder / "spec.json").write_text(json.dumps(what))
            attempt = NamespaceAttempt(folder, place, log, asyncio.get_running_loop())
            await attempt.begin(spec)
        except BaseException:
            await place.remove()
            raise
        return attempt

    async def sweep(self) -> None:
        """Take away what attempts of an earlier plane left behind: their processes ended with it."""
        await asyncio.to_thread(sweep_places, self._places)


class NamespaceAttempt:
    """A process, and the one of ours that watches over it."""

    def __init__(self, folder: Path, place: AttemptPlace, log: LogSink, loop: asyncio.AbstractEventLoop) -> None:
        self._folder, self._place, self._log, self._loop = folder, place, log, loop
        self._end: asyncio.Future[AttemptEnd] = loop.create_future()
        self._pid: asyncio.Future[int] = loop.create_future()
        self._loopback: Loopback | None = None

    async def begin(self, spec: AttemptSpec) -> None:
        """Start it; return once it has its place. Raises ProgramError when it cannot have one."""
        environment: dict[str, str | Secret] = {
            name: Secret(value) for name, value in entry_environment(spec, arguments_path=ARGUMENTS_PATH).items()
        }
        environment |= {"PYTHONPATH": f"{WORKDIR}:{PKG}", "PATH": f"{Path(sys.executable).parent}:{_PATH}"}
        threading.Thread(target=self._watch, args=(environment,), name=f"watch-{spec.task_id}", daemon=True).start()
        pid = await self._pid
        if spec.block_network:
            self._loopback = Loopback(pid=pid, ports=spec.ports)
            await self._loopback.open()

    async def wait(self) -> AttemptEnd:
        """Return once it ended, and all of its output was handed to the log."""
        return await asyncio.shield(self._end)

    async def interrupt(self) -> None:
        """Send SIGINT to the entry point."""
        await self._signal(signal.SIGINT)

    async def kill(self) -> None:
        """End it and all that it started at once: it is the first process of its own namespace."""
        await self._signal(signal.SIGKILL)

    async def close(self) -> None:
        """Take its place away."""
        if self._loopback is not None:
            await self._loopback.close()
        if not self._end.done():
            await self.kill()
            await self.wait()
        await self._place.remove()

    async def _signal(self, number: int) -> None:
        if not self._end.done():
            with suppress(ProcessLookupError):
                os.kill(await self._pid, number)

    def _watch(self, environment: dict[str, str | Secret]) -> None:
        """Run our process over it to its end, and take what it tells. In a thread of its own."""
        argv = (sys.executable, "-m", "trimtab.emulation.modal.namespace_entry", str(self._folder / "spec.json"))
        command = Command(argv=argv, env={"TRIMTAB_ATTEMPT": Secret(_revealed(environment))}, house=True)
        try:
            ProcessRunner().run(command, on_line=self._take)
        except TrimtabError as error:
            self._call(self._fail, error)

    def _take(self, line: str) -> None:
        """Take one line of what is told: the process, a piece of its output, its end."""
        try:
            told = json.loads(line)
            kind, value = told["kind"], told["value"]
        except (ValueError, TypeError, KeyError):
            self._call(self._log, LogStream.SYSTEM, f"{line}\n")
            return
        if kind == "pid":
            self._call(self._pid.set_result, int(value))
        elif kind == "end":
            code = int(value)
            end = AttemptEnd(exit_code=None, signal=-code) if code < 0 else AttemptEnd(exit_code=code, signal=None)
            self._call(self._end.set_result, end)
        else:
            self._call(self._log, LogStream(kind), value)

    def _fail(self, error: TrimtabError) -> None:
        if not self._pid.done():
            self._pid.set_exception(
                ProgramError("the attempt has no place", why=f"{error.what}: {error.why}", remedy=error.remedy)
            )
        if not self._end.done():
            self._end.set_result(AttemptEnd(exit_code=1, signal=None))

    def _call(self, call: object, *arguments: object) -> None:
        with suppress(RuntimeError):  # the plane has ended meanwhile
            self._loop.call_soon_threadsafe(call, *arguments)  # type: ignore[arg-type]  # each of our own methods


def _revealed(environment: dict[str, str | Secret]) -> str:
    return json.dumps({name: v.reveal() if isinstance(v, Secret) else v for name, v in environment.items()})
