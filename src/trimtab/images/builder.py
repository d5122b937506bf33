"""Build one image under its candidate's name: watched, and with nothing left of it but the image.

Runs buildx; everything else goes through the docker SDK.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trimtab.errors import BudgetError, ProgramError
from trimtab.images.build import LABEL_INPUTS, LABEL_PROJECT, LABEL_SERVICE, ImageBuild, docker_build_argv
from trimtab.images.contents import grown_directories
from trimtab.images.engine import (
    build_cache_as_before,
    data_root,
    image_or_none,
    size_over_base,
    stands_on,
)
from trimtab.images.host import engine_errors
from trimtab.images.sampler import Peak, Sampler
from trimtab.process import Command, Runner
from trimtab.project import Project, current_commit
from trimtab.units import format_size

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image that was just built, and what building it took of the engine's disk."""

    image: Image
    peak: Peak


@contextmanager
def candidate(client: DockerClient, runner: Runner, build: ImageBuild, *, hint: str, say: Say) -> Iterator[Candidate]:
    """Build an image and hand it in; its candidate's name, and the build's cache, are taken away at the end.

    Raises ProgramError, which says what was being written at the build's peak.
    """
    from docker.errors import DockerException
    from requests import RequestException

    with engine_errors(None):
        try:
            yield _built(client, runner, build, hint=hint, say=say)
        except BaseException:
            with suppress(DockerException, RequestException):  # why it failed matters more
                client.images.remove(build.candidate_tag, force=True)
            raise
        client.images.remove(build.candidate_tag, force=True)


def _built(client: DockerClient, runner: Runner, build: ImageBuild, *, hint: str, say: Say) -> Candidate:
    def show(line: str) -> None:
        if (begins := sampler.hear(line)) is not None:
            say(begins)

    with build_cache_as_before(client), Sampler(data_root(client)) as sampler:
        try:
            runner.run(Command(argv=docker_build_argv(build), hint=hint), on_line=show)
        except ProgramError as error:
            why = f"{error.why}\n{_peak_words(sampler.peak)}"
            raise ProgramError(error.what, why=why, remedy=error.remedy) from error
        image = client.images.get(build.candidate_tag)
    return Candidate(image=image, peak=sampler.peak)


def accept(client: DockerClient, build: ImageBuild, image: Image) -> None:
    """Give a candidate the image's name; remove what lost it and is in no use, layers that others share excepted."""
    image.tag(build.tag)
    ours = [f"{LABEL_PROJECT}={build.project}", f"{LABEL_SERVICE}={build.service}"]
    client.images.prune(filters={"dangling": True, "label": ours})


def standing(client: DockerClient, tag: str, *, inputs: str, base: Image) -> Image | None:
    """Return the image of a name when it was made from these very inputs, on the base that is here."""
    image = image_or_none(client, tag)
    if image is None or image.labels.get(LABEL_INPUTS) != inputs or not stands_on(image, base):
        return None
    return image


def require_size(client: DockerClient, image: Image, base: Image, *, build: ImageBuild, budget: int) -> int:
    """Return the bytes that an image adds to its base. Raises BudgetError, naming what grew, when they are too many."""
    size = size_over_base(image, base)
    if size <= budget:
        return size
    before = image_or_none(client, build.tag)
    since = "its base" if before is None else "the image before it"
    grown = grown_directories(client, image, base if before is None else before)
    named = ", ".join(f"{path} {format_size(grew)}" for path, grew in grown) or "nothing: it was written twice"
    raise BudgetError(
        f"image {build.tag} is over its size budget and was not kept",
        why=f"it adds {format_size(size)} to {base.tags[0] if base.tags else base.id} and may add"
        f" {format_size(budget)}; what grew most since {since}: {named}",
        remedy=f"leave something out of it, or raise services.{build.service}.variants.{build.variant}.size_over_base",
    )


def present(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those environment variables that are set here."""
    return tuple(name for name in names if os.environ.get(name))


def stamps(project: Project, base: Image) -> tuple[tuple[str, str], ...]:
    """Return the build arguments that only become labels: the commit, the time, and the base by its digest."""
    digests = base.attrs.get("RepoDigests") or [str(base.id)]
    return (
        ("REVISION", current_commit(project.root) or "unknown"),
        ("CREATED", datetime.now(UTC).isoformat(timespec="seconds")),
        ("BASE_DIGEST", digests[0].rpartition("@")[2]),
    )


def _peak_words(peak: Peak) -> str:
    return f"    at its peak it took {format_size(peak.size_bytes)} of the engine's disk, writing: {peak.layer}"
