"""The plane's HTTP side on loopback: what is too big for a call, and what `trimtab modal` asks of it.

Blobs, blocks and files go by addresses that carry a seal (they work for whoever holds them, like a presigned one);
`/control` takes the client's token. Touches the plane's folders of blobs and files, and reads the Volumes' files.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from grpclib import GRPCError

from trimtab.emulation.modal.calls.containers import task_of
from trimtab.emulation.modal.calls.inputs import enter, open_call
from trimtab.emulation.modal.definitions import App, Function, Volume
from trimtab.emulation.modal.history import KEEP_S
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.pruning import holdings, prune_images, told
from trimtab.emulation.modal.record import describe
from trimtab.process import Secret

_CHUNK_BYTES: Final = 1024 * 1024

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """Handlers over one plane."""

    def __init__(self, plane: Plane, token: tuple[str, Secret]) -> None:
        """`token` is what a person's requests must carry."""
        self._plane = plane
        self._token = token

    def application(self) -> web.Application:
        """Return the routes."""
        application = web.Application(client_max_size=0)
        application.add_routes(
            [
                web.put("/blob/{name}", self._put_blob),
                web.get("/blob/{name}", self._get_blob),
                web.put("/block/{name}", self._put_block),
                web.get("/file", self._get_file),
                web.get("/control/status", self._status),
                web.get("/control/holdings", self._holdings),
                web.post("/control/prune", self._prune),
                web.post("/control/interrupt", self._interrupt),
                web.post("/control/trigger", self._trigger),
            ]
        )
        return application

    def _check(self, request: web.Request) -> None:
        words, _, key = request.query_string.rpartition("key=")
        if not hmac.compare_digest(self._plane.seal(request.path, words.rstrip("&")), key):
            raise web.HTTPForbidden(text="this address was not given out by the embedded Modal that runs now")

    async def _receive(self, request: web.Request, target: Path) -> tuple[str, str]:
        """Write a body whole or not at all; return its MD5 (which the client compares) and SHA-256."""
        md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("wb") as file:
                async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
                    md5.update(chunk)
                    sha.update(chunk)
                    file.write(chunk)
            if request.content_length in {None, temporary.stat().st_size}:
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return md5.hexdigest(), sha.hexdigest()

    async def _put_blob(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        md5, _ = await self._receive(request, self._plane.blobs_dir / request.match_info["name"])
        return web.Response(headers={"ETag": f'"{md5}"'})

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        return web.FileResponse(self._plane.blobs_dir / request.match_info["name"])

    async def _put_block(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        target = self._plane.files_dir / request.match_info["name"]
        _, digest = await self._receive(request, target)
        if digest != target.name:
            target.unlink()
            raise web.HTTPBadRequest(text=f"the block has SHA-256 {digest}, not {target.name}")
        return web.Response(body=digest.encode())

    async def _get_file(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        path = Path(bytes.fromhex(request.query["name"]).decode())
        start, end = int(request.query["start"]), int(request.query["end"])
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return web.Response(body=os.pread(descriptor, end - start, start))
        finally:
            os.close(descriptor)

    # What `trimtab modal` asks

    def _require_token(self, request: web.Request) -> None:
        name, value = request.headers.get("x-token-id", ""), request.headers.get("x-token-secret", "")
        if name != self._token[0] or not hmac.compare_digest(value, self._token[1].reveal()):
            raise web.HTTPForbidden(text="the token is wrong")

    async def _status(self, request: web.Request) -> web.StreamResponse:
        self._require_token(request)
        return web.json_response(describe(self._plane))

    async def _holdings(self, request: web.Request) -> web.StreamResponse:
        """Tell what all this takes, and what of it could go by itself."""
        self._require_token(request)
        plane, built = self._plane, self._plane.execution.built
        found = plane.prune(older_s=KEEP_S, dry_run=True)
        volumes = list(plane.state.all(Volume))

        def look() -> dict[str, Any]:
            images = built.holdings(found.needed_images) if built is not None else ()
            prunable = told(found, prune_images(built, found, dry_run=True))
            return {**holdings(plane.state_dir, volumes, images), "prunable": prunable}

        return web.json_response(await asyncio.to_thread(look))

    async def _prune(self, request: web.Request) -> web.StreamResponse:
        """Remove what nothing needs and was not used for a time."""
        self._require_token(request)
        words = await request.json()
        dry_run = bool(words["dry_run"])
        found = self._plane.prune(older_s=float(words["older_s"]), dry_run=dry_run)
        if not dry_run:
            await self._plane.execution.volumes.tidy()
        images = await asyncio.to_thread(prune_images, self._plane.execution.built, found, dry_run=dry_run)
        return web.json_response(told(found, images))

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        """Preempt one container, or every one of a function or an app, that works on something."""
        self._require_token(request)
        target = (await request.json())["target"]
        found = [task for task in self._plane.roster.tasks() if task.running and target in self._names(task)]
        if target.startswith("ta-"):
            try:
                found = [task_of(self._plane, target)]
            except GRPCError as error:
                raise web.HTTPNotFound(text=str(error.message)) from error
        for task in found:
            self._plane.roster.preempt(task)
        return web.json_response([task.id for task in found])

    def _names(self, task: Any) -> set[str]:
        app = self._plane.state.get(App, task.app_id)
        function = self._plane.state.get(Function, task.function_id)
        names = {task.app_id, task.function_id}
        if app is not None:
            names |= {app.name, app.description}
        if app is not None and function is not None:
            names |= {function.name, f"{app.description}.{function.name}"}
        return names

    async def _trigger(self, request: web.Request) -> web.StreamResponse:
        """Call a deployed function without arguments, as its schedule would."""
        self._require_token(request)
        words = await request.json()
        app = self._plane.state.find(App, words["app"])
        function_id = app.function_ids.get(words["function"], "") if app is not None else ""
        function = self._plane.state.get(Function, function_id)
        if app is None or function is None:
            raise web.HTTPNotFound(text=f"no app {words['app']!r} with a function {words['function']!r} is deployed")
        try:
            call_id = open_call(self._plane, function, caller_app_id="", is_map=False, invocation=3)
        except GRPCError as error:
            raise web.HTTPConflict(text=str(error.message)) from error
        enter(self._plane, function, [(0, b"")], call_id=call_id)
        return web.json_response({"call_id": call_id})
