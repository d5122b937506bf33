"""Images that a client defined, built into this machine's Docker engine, each layer once. Touches its own folder and
images of its own name. What is built and from what is decided in `dockerfiles.py`; what they are called, and how they
go, in `engine_images.py`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.emulation.modal.attempt import ImageDefinition, ImageFailedError, LogSink, LogStream
from trimtab.emulation.modal.client_packages import PYTHON
from trimtab.emulation.modal.clone import clone_file
from trimtab.emulation.modal.dockerfiles import WHEELS, digest_of, dockerfile, recipe_of
from trimtab.emulation.modal.engine_images import BuiltImage, EngineImages
from trimtab.errors import ProgramError
from trimtab.images.build import INDEX_VARIABLES
from trimtab.images.engine import connect, image_or_none
from trimtab.process import Command, ProcessRunner, Secret

if TYPE_CHECKING:
    from docker import DockerClient

LABEL: Final = "org.trimtab.modal.image"
_PROGRESS: Final = re.compile(r"^#\d+ (\[|\d+\.\d+ |ERROR)")
_VERSION_PROGRAM: Final = "import sys; print('%d.%d' % sys.version_info[:2])"


class DockerImages:
    """Builds with the engine's own builder."""

    def __init__(self, state_dir: Path, base_image: str) -> None:
        """`base_image` is the catalogue's: what stands for Modal's own images."""
        self._folder = state_dir / "images"
        self._kept = EngineImages(state_dir)
        self._base_image = base_image
        self._ready: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()

    def is_ready(self, image: ImageDefinition) -> bool:
        """Tell at once whether nothing is left to do for an image."""
        reference = self._ready.get(self._digests.get(image.image_id, ""))
        if reference is None or image.force:
            return False
        self._kept.note_use(reference)
        return True

    async def ensure(self, image: ImageDefinition, log: LogSink) -> None:
        """Build an image and its bases, where they are not there. Raises ImageFailedError."""
        loop = asyncio.get_running_loop()

        def say(stream: LogStream, text: str) -> None:
            loop.call_soon_threadsafe(log, stream, text)

        await asyncio.to_thread(self.build, image, say)

    def reference(self, image: ImageDefinition) -> str:
        """Return the name of a built image in the engine. Raises ImageFailedError for one that is not built."""
        reference = self._ready.get(self._digests.get(image.image_id, ""))
        if reference is None:
            raise ImageFailedError(f"image {image.image_id} is not built", why="nobody asked", remedy="run it again")
        self._kept.note_use(reference)
        return reference

    def forget(self, image: ImageDefinition) -> None:
        """Let an image be built again that the engine no longer has."""
        self._ready.pop(self._digests.get(image.image_id, ""), None)

    def sweep(self, client: DockerClient) -> None:
        """Take away what a build left that was killed."""
        self._kept.drop_candidates(client)
        for context in self._folder.glob("im-*"):
            _remove(context)

    def holdings(self, needed: Iterable[ImageDefinition]) -> tuple[BuiltImage, ...]:
        """Return the images of this plane, the dearest first. `needed` are those that it still may start."""
        names = {self._kept.name_of(digest_of(one, base_image=self._base_image)) for one in _with_bases(needed)}
        return self._kept.holdings(connect(), names)

    def remove(self, names: Collection[str], *, unused_since: float) -> tuple[str, ...]:
        """Take images away, and return those that went: none while one is built, and none that is used."""
        if not self._lock.acquire(blocking=False):
            return ()
        try:
            gone = self._kept.remove(connect(), names, unused_since=unused_since)
            self._ready = {digest: name for digest, name in self._ready.items() if name not in gone}
        finally:
            self._lock.release()
        return gone

    def build(self, image: ImageDefinition, say: LogSink) -> str:
        """Build what is missing, one image at a time, and return its name in the engine."""
        with self._lock:
            return self._build(connect(), image, say)

    def _build(self, client: DockerClient, image: ImageDefinition, say: LogSink) -> str:
        digest = digest_of(image, base_image=self._base_image)
        self._digests[image.image_id] = digest
        recipe = recipe_of(image, base_image=self._base_image)
        if digest in self._ready and not image.force and image_or_none(client, self._ready[digest]) is not None:
            return self._ready[digest]
        for notice in recipe.notices:
            say(LogStream.SYSTEM, f"{notice}\n")
        if recipe.python is not None and recipe.python != PYTHON:
            raise ImageFailedError(
                f"an image with Python {recipe.python} cannot be had here",
                why=f"the client's packages that are mounted into containers are for Python {PYTHON}",
                remedy=f'say python_version="{PYTHON}", or run the embedded Modal from a Python {recipe.python}',
            )
        base = recipe.base if image.base is None else self._build(client, image.base, say)
        if base is None:
            raise AssertionError("a recipe without a base is a recipe on another image")
        reference = self._kept.name_of(digest) if recipe.commands else base
        if not image.force and self._kept.has(client, reference):
            self._ready[digest] = reference
            self._kept.note_use(reference)
            return reference
        if recipe.commands:
            candidate = self._kept.candidate_of(reference)
            self._run_build(image, base, candidate, say)
            _require_python(client, candidate, image)
            client.images.get(candidate).tag(reference)
            client.images.remove(candidate)
        else:
            _pull(client, reference, say)
            _require_python(client, reference, image)
        self._ready[digest] = reference
        self._kept.note_use(reference)
        return reference

    def _run_build(self, image: ImageDefinition, base: str, tag: str, say: LogSink) -> None:
        recipe = recipe_of(image, base_image=self._base_image)
        context = self._folder / image.image_id
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        try:
            has_wheels = _lay_out(context, image)
            index = tuple(name for name in INDEX_VARIABLES if name in os.environ)
            text = dockerfile(
                recipe,
                base,
                arguments=(*index, *image.build_args),
                secrets=tuple(image.environment),
                has_wheels=has_wheels,
            )
            file = context.with_suffix(".Dockerfile")
            file.write_text(text)
            argv = build_argv(file=file, context=context, tag=tag, image=image, index=index, force=image.force)
            environment: dict[str, str | Secret] = {f"TRIMTAB_SECRET_{n}": v for n, v in image.environment.items()}
            command = Command(argv=argv, env=environment, hint="mend the image's definition and run it again")
            ProcessRunner().run(command, on_line=lambda line: _tell(line, say))
        except ProgramError as error:
            raise ImageFailedError(
                f"image {image.image_id} was not built", why=error.why, remedy=error.remedy
            ) from error
        finally:
            shutil.rmtree(context, ignore_errors=True)
            context.with_suffix(".Dockerfile").unlink(missing_ok=True)


def build_argv(
    *, file: Path, context: Path, tag: str, image: ImageDefinition, index: tuple[str, ...], force: bool
) -> tuple[str, ...]:
    """Return the argv that builds one layer. Secrets and what the index needs travel by environment."""
    return (
        "docker", "buildx", "build",
        "--builder", "default",
        "--progress", "plain",
        "--load",
        "--provenance", "false",
        *(("--no-cache",) if force else ()),
        "--file", str(file),
        "--tag", tag,
        "--label", f"{LABEL}={image.image_id}",
        *(word for name in index for word in ("--build-arg", name)),
        *(word for name, value in image.build_args.items() for word in ("--build-arg", f"{name}={value}")),
        *(word for name in image.environment for word in ("--secret", f"id={name},env=TRIMTAB_SECRET_{name}")),
        str(context),
    )  # fmt: skip


def _lay_out(context: Path, image: ImageDefinition) -> bool:
    """Put the files that a build may copy into its context; return whether there are wheels among them."""
    for file in image.context:
        target = context / file.path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        clone_file(file.content, target)
        target.chmod(file.mode or 0o644)
    copies_all = any(re.match(r"(COPY|ADD) \.", command) for command in image.commands)
    if copies_all or not any("pip" in command for command in image.commands):
        return False
    wheels = [
        wheel
        for folder in os.environ.get("PIP_FIND_LINKS", "").split()
        if Path(folder).is_dir()
        for wheel in Path(folder).glob("*.whl")
    ]
    for wheel in wheels:
        (context / WHEELS).mkdir(exist_ok=True)
        try:
            os.link(wheel, context / WHEELS / wheel.name)
        except OSError:
            clone_file(wheel, context / WHEELS / wheel.name)
    return bool(wheels)


def _tell(line: str, say: LogSink) -> None:
    if _PROGRESS.match(line):
        say(LogStream.STDERR, f"{line}\n")


def _with_bases(images: Iterable[ImageDefinition]) -> Iterable[ImageDefinition]:
    for image in images:
        below: ImageDefinition | None = image
        while below is not None:
            yield below
            below = below.base


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _pull(client: DockerClient, reference: str, say: LogSink) -> None:
    from docker.errors import APIError

    say(LogStream.SYSTEM, f"pulling {reference}\n")
    try:
        client.images.pull(reference)
    except APIError as error:
        raise ImageFailedError(
            f"the base image {reference} cannot be had",
            why=str(error.explanation or error),
            remedy="check the registry's address, or load it: docker load; then run it again",
        ) from error


def _require_python(client: DockerClient, reference: str, image: ImageDefinition) -> None:
    """Raise ImageFailedError for an image whose Python is not the one that the client's packages are for."""
    from docker.errors import APIError, ContainerError

    try:
        found = client.containers.run(
            reference, ["-c", _VERSION_PROGRAM], entrypoint=["python"], remove=True, network_mode="none"
        )
    except (APIError, ContainerError) as error:
        with suppress(APIError):
            client.images.remove(reference)
        raise ImageFailedError(
            f"image {image.image_id} has no Python", why=str(error), remedy="add one, for example by add_python="
        ) from error
    version = found.decode().strip()
    if version != PYTHON:
        raise ImageFailedError(
            f"image {image.image_id} has Python {version}, which cannot be had here",
            why=f"the client's packages that are mounted into containers are for Python {PYTHON}",
            remedy=f"use an image with Python {PYTHON}, or run the embedded Modal from a Python {version}",
        )
