"""The control plane's parts, put together: state, scheduler, execution, files; and the life of apps.

Made by `server.py` in the background program, handed to every call. Touches its state folder only, and what the
runner touches.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import shutil
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modal_proto import api_pb2

from trimtab.emulation import aws, web_identity
from trimtab.emulation.modal.attempt import AttemptSpec, ImageDefinition, LogStream
from trimtab.emulation.modal.bell import Bell
from trimtab.emulation.modal.definitions import App, Function, Mount, StoredSecret, Volume
from trimtab.emulation.modal.description import Descriptions
from trimtab.emulation.modal.execution import Execution
from trimtab.emulation.modal.history import KEEP_S
from trimtab.emulation.modal.journal import STREAMS, KeptJournal
from trimtab.emulation.modal.pruning import SENDING_S, Pruning, Unneeded
from trimtab.emulation.modal.scheduler import Scheduler
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.emulation.modal.state import State
from trimtab.emulation.modal.tasks import DEFAULT_TIMEOUT_S, Task
from trimtab.errors import BudgetError, TrimtabError
from trimtab.process import Secret
from trimtab.storage.durable import raise_write_error
from trimtab.units import format_size

_DAY_S: Final = 24 * 3600.0
_LEAST_FREE_BYTES: Final = 8 * 1024 * 1024
_RESERVE_BYTES: Final = 256 * 1024
_SILENT_S: Final = 60.0  # a client says every 15 s that it lives

STOPPED: Final = frozenset({api_pb2.APP_STATE_STOPPED, api_pb2.APP_STATE_STOPPING})


@dataclass(kw_only=True)
class Build:
    """The building of an image: what it said, and how it ended."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    result: api_pb2.GenericResult | None = None


class Plane:
    """Everything that a call may need."""

    def __init__(self, state_dir: Path, settings: PlaneSettings, execution: Execution) -> None:
        """Open the state of a folder."""
        self.settings = settings
        self.execution = execution
        self.state_dir = state_dir
        _make_reserve(state_dir)
        self.files_dir = _folder(state_dir / "files")
        self.blobs_dir = _folder(state_dir / "blobs")
        self.state = State(state_dir / "state.db", on_failure=self._fail)
        self.bell = Bell()
        self.ending = asyncio.Event()
        self.failure: TrimtabError | None = None
        self.builds: dict[str, Build] = {}
        self.descriptions = Descriptions(self.state, self.files_dir)
        self.pruning = Pruning(self.state, state_dir, sending_s=settings.scaled(SENDING_S))
        self._pruned_at = 0.0
        self.server_url = ""
        self.web_url = ""
        self.ports: tuple[int, ...] = ()
        self.scheduler = Scheduler(
            state=self.state,
            bell=self.bell,
            runner=execution.runner,
            images=execution.images,
            settings=settings,
            journal=KeptJournal(self.state.history, self.bell),
            describe=self._describe,
            on_progress=self._on_progress,
        )
        self.roster = self.scheduler.roster
        self._key = secrets.token_bytes(32)
        self._heard: dict[str, float] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Clear what an earlier plane left, and go on with what it had not finished."""
        await self.execution.runner.sweep()
        await self.execution.volumes.tidy()
        self.state.history.end_lost_tasks()
        self.prune(older_s=KEEP_S)
        for app in self.state.all(App):
            if app.state == api_pb2.APP_STATE_STOPPING:
                self._mark_stopped(app)
            self._heard[app.id] = time.monotonic()
        self.scheduler.resume()

    async def close(self) -> None:
        """End every attempt, and close the state."""
        await self.roster.close()
        for job in tuple(self._jobs):
            job.cancel()
        self.state.close()

    def _fail(self, error: TrimtabError) -> None:
        """End, when the state can be written no more: a result that cannot be kept is taken by the next plane."""
        self.failure = self.failure or error
        _reserve(self.state_dir).unlink(missing_ok=True)
        self.ending.set()

    # What is not needed

    def prune(self, *, older_s: float, dry_run: bool = False) -> Unneeded:
        """Remove what nothing needs and was not used for so long, but for images; return what that was."""
        found = self.pruning.unneeded(older_s=older_s)
        if not dry_run:
            self._pruned_at = time.monotonic()
            self.pruning.forget(found)
            for record in found.records:
                self.builds.pop(record.id, None)
        return found

    def prune_daily(self) -> None:
        """Remove what Modal would not keep any longer either, once a day. Images stay: they may be dear to build."""
        if time.monotonic() - self._pruned_at > _DAY_S:
            self.prune(older_s=KEEP_S)
            self.spawn(self.execution.volumes.tidy())

    # Apps

    def hear(self, app_id: str) -> None:
        """Note that an app's client lives."""
        self._heard[app_id] = time.monotonic()

    def stop_silent_apps(self) -> None:
        """Stop apps that live with their client when it is heard of no more; detached ones only lose it."""
        for app in self.state.all(App):
            is_bound = app.state in {api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_DETACHED}
            if is_bound and time.monotonic() - self._heard.setdefault(app.id, time.monotonic()) > _SILENT_S:
                self.disconnect(app)

    def disconnect(self, app: App) -> None:
        """Take note that an app's client left."""
        if app.state == api_pb2.APP_STATE_DETACHED:
            app.state = api_pb2.APP_STATE_DETACHED_DISCONNECTED
            self.state.put(app)
            self.bell.ring(f"log:{app.id}")
            self._on_progress(app.id)
        elif app.state in {api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_INITIALIZING}:
            self.stop(app)

    def stop(self, app: App) -> None:
        """End an app with all that it runs."""
        if app.state in STOPPED:
            return
        app.state = api_pb2.APP_STATE_STOPPING
        self.state.put(app)
        self.scheduler.stop_app(app.id)
        self.spawn(self._wait_for_end(app))

    async def _wait_for_end(self, app: App) -> None:
        while self.roster.tasks(app_id=app.id):
            await self.bell.wait(f"app:{app.id}", 1.0)
        self._mark_stopped(app)

    def _mark_stopped(self, app: App) -> None:
        app.state = api_pb2.APP_STATE_STOPPED
        app.stopped_at = time.time()
        self.state.put(app)
        self._heard.pop(app.id, None)
        if not app.name:  # nobody can find it again: what it was made of is of no use any more
            for kind in (Mount, StoredSecret):
                for record in self.state.all(kind, app_id=app.id):
                    self.state.remove(record)
        self.bell.ring(f"log:{app.id}")

    def _on_progress(self, app_id: str) -> None:
        app = self.state.get(App, app_id)
        if (
            app is not None
            and app.state == api_pb2.APP_STATE_DETACHED_DISCONNECTED
            and not self.state.history.has_open_inputs(app_id)
        ):
            self.stop(app)

    # Attempts

    def _describe(self, task: Task, function: Function, definition: api_pb2.Function) -> AttemptSpec:
        return self.descriptions.attempt(
            task,
            function,
            definition,
            server_url=self.server_url,
            ports=self.ports,
            timeout_s=self.settings.scaled(definition.timeout_secs or DEFAULT_TIMEOUT_S),
            identity_token=self._identity_token(task, definition),
        )

    def _identity_token(self, task: Task, definition: api_pb2.Function) -> Secret | None:
        """Return what proves to the embedded AWS who an attempt is; None while none runs."""
        server = aws.status(Path(self.settings.aws_state_dir)) if self.settings.aws_state_dir else None
        app = self.state.get(App, task.app_id)
        if server is None or app is None:
            return None
        claims = web_identity.modal_claims(
            workspace=self.settings.workspace,
            environment=app.environment,
            app=app.name or app.description,
            function=definition.function_name,
            container=task.id,
        )
        return Secret(server.mint_token(claims))

    # Images

    def build(self, image: ImageDefinition) -> Build:
        """Return the building of an image; start one unless it goes on, or ended well."""
        build = self.builds.get(image.image_id)
        if build is None or (build.result and build.result.status != api_pb2.GenericResult.GENERIC_STATUS_SUCCESS):
            build = self.builds[image.image_id] = Build()
            if self.execution.images.is_ready(image):
                build.result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
            else:
                self.spawn(self._build(image, build))
        return build

    async def _build(self, image: ImageDefinition, build: Build) -> None:
        def log(stream: LogStream, text: str) -> None:
            build.lines.append((STREAMS[stream], text))
            self.bell.ring(image.image_id)

        try:
            await self.execution.images.ensure(image, log)
            build.result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        except TrimtabError as error:
            build.result = api_pb2.GenericResult(
                status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=str(error)
            )
        self.bell.ring(image.image_id)

    # Files and addresses

    def address(self, path: str, **query: str | int) -> str:
        """Return an address of our own that works for whoever holds it, and cannot be guessed."""
        words = "&".join(f"{name}={value}" for name, value in sorted(query.items()))
        return f"{self.web_url}{path}?{words}{'&' if words else ''}key={self.seal(path, words)}"

    def seal(self, path: str, words: str) -> str:
        """Return what proves that we gave an address out."""
        return hmac.new(self._key, f"{path}?{words}".encode(), hashlib.sha256).hexdigest()

    def has_file(self, digest: str) -> bool:
        """Tell whether a content is kept; from now on it counts as just used."""
        try:
            os.utime(self.files_dir / digest)
        except FileNotFoundError:
            return False
        return True

    def keep_file(self, data: bytes) -> str:
        """Keep a content by its SHA-256, which is returned."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.files_dir / digest
        if not self.has_file(digest):
            temporary = path.with_name(f".{digest}.{secrets.token_hex(4)}")
            temporary.write_bytes(data)
            temporary.replace(path)
        return digest

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on by itself."""
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def volume_ids_of(self, app_id: str) -> set[str]:
        """Return the Volumes that an app may use: those that its functions mount, and those that it made."""
        made = {volume.id for volume in self.state.all(Volume, app_id=app_id)}
        for function in self.state.all(Function, app_id=app_id):
            definition = api_pb2.Function.FromString(function.definition)
            made |= {mount.volume_id for mount in definition.volume_mounts}
        return made


def _reserve(state_dir: Path) -> Path:
    return state_dir / "reserve"


def _make_reserve(state_dir: Path) -> None:
    """Hold some room, so that there is some to say in that the disk is full. Raises BudgetError where it is already."""
    free = shutil.disk_usage(state_dir).free
    if free < _LEAST_FREE_BYTES:
        raise BudgetError(
            "the embedded Modal has no room",
            why=f"{format_size(free)} are free at {state_dir}, and {format_size(_LEAST_FREE_BYTES)} are the least",
            remedy="free space on that disk (`trimtab disk report` shows what takes it), then start it again",
        )
    _reserve(state_dir).write_bytes(secrets.token_bytes(_RESERVE_BYTES))


def _folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise_write_error(error, f"{path} was not made")
    return path
