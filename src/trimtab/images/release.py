"""Bring a release live: beside the one that serves, through the gate, and only then in its place, or not at all.

Start the new container, ask it /health and the golden request from inside its network, switch the front, let the old
one end its requests, stop it. Whatever dies on the way: the front's record says who is live, and the next run takes
away what is not. Touches containers, images and volumes that carry this project's and this service's label.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.catalogue import Golden
from trimtab.errors import HealthError, TrimtabError
from trimtab.images.build import LABEL_PROJECT, LABEL_SERVICE
from trimtab.images.container import (
    INSIDE_PORT,
    ContainerSpec,
    container_name,
    end,
    is_running,
    keep,
    last_lines,
    releases_of,
    start,
)
from trimtab.images.engine import image_or_none
from trimtab.images.front import Front, FrontDoor
from trimtab.images.golden import Door, GoldenAnswer, ask_golden, wait_until_healthy
from trimtab.images.record import Record, Release
from trimtab.images.turn import Turn
from trimtab.images.volume import unused_models

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

Say = Callable[[str], None]
_DRAIN_S: Final = 60.0
_TAG: Final = "release-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a release must pass before it serves: healthy within `start_s`, and the golden request answered rightly."""

    golden: Golden
    root: Path
    start_s: float

    def ask(self, door: Door, container: Container, say: Say) -> GoldenAnswer:
        """Let a container through. Raises HealthError with its last lines."""
        try:
            say(f"waiting for {container.name} to be healthy")
            wait_until_healthy(door, within_s=self.start_s, is_running=lambda: is_running(container))
            say(f"asking {container.name} the golden request")
            return ask_golden(door, self.golden, root=self.root)
        except HealthError as error:
            raise HealthError(error.what, why=f"{error.why}\n{last_lines(container)}", remedy=error.remedy) from error


def bring_live(
    client: DockerClient,
    front: Front,
    spec: ContainerSpec,
    wanted: Release,
    *,
    gate: Gate,
    mine: Turn,
    say: Say,
    withdraw: bool = False,
) -> tuple[Release, GoldenAnswer]:
    """Make a release the live one, and return it with its golden answer. `wanted` has no number yet.

    It takes the service's turn on that engine: whatever else stands there is what a run left that was cut off.

    The live one itself is returned where it is that release already and answers. `withdraw` marks the one that it takes
    over from: a rollback does not come back to that by itself. Raises HealthError when the new one is refused,
    ProgramError when the engine fails; what served before serves then, without a break.
    """
    record = mended(client, front, spec.project, spec.service, say=say)
    if (standing := _standing(client, front, spec, record, wanted, gate, say)) is not None:
        return standing
    release = replace(wanted, number=record.next_number)
    container: Container | None = None
    try:
        say(f"release {release.number} starts beside the one that serves")
        container = start(client, spec, release.number)
        answer = gate.ask(FrontDoor(front, _target(spec, release.number)), container, say)
        keep(container)
        mine.require()
        say(f"traffic moves to release {release.number}")
        after = (record.without_live() if withdraw else record).with_live(release)
        front.put_in_force(after, target=_target(spec, release.number))
    except BaseException as error:
        _undo(client, front, spec, record, release, container, error, mine=mine)
        raise
    _retire(client, front, spec.project, spec.service, live=release.number, say=say)
    clean(client, spec.project, spec.service, after)
    return release, answer


def mended(client: DockerClient, front: Front, project: str, service: str, *, say: Say) -> Record:
    """Return the record after taking away what a run that was cut off left behind."""
    record = front.mend()
    others = set(releases_of(client, project, service)) - {record.live}
    if others:
        say(f"taking away what an earlier run left: {', '.join(f'release {number}' for number in sorted(others))}")
        _retire(client, front, project, service, live=record.live, say=say)
    return record


def clean(client: DockerClient, project: str, service: str, record: Record) -> None:
    """Keep the images and models of the kept releases by a tag each, and remove those of older ones. By label only."""
    from docker.errors import APIError

    kept = record.kept()
    repository = f"{project}/{service}"
    wanted = {f"{repository}:{_TAG}{release.number}": release.digest for release in kept}
    for tag, digest in wanted.items():
        image = image_or_none(client, digest)
        if image is not None and tag not in image.tags:
            image.tag(repository, tag.rpartition(":")[2])
    for image in client.images.list(name=repository):
        for tag in image.tags:
            if tag.startswith(f"{repository}:{_TAG}") and tag not in wanted:
                with suppress(APIError):  # a container of somebody else's runs it
                    client.images.remove(tag)
    ours = [f"{LABEL_PROJECT}={project}", f"{LABEL_SERVICE}={service}"]
    client.images.prune(filters={"dangling": True, "label": ours})
    for _ in unused_models(client, project, service, kept=frozenset(release.models_volume for release in kept)):
        pass


def _standing(
    client: DockerClient, front: Front, spec: ContainerSpec, record: Record, wanted: Release, gate: Gate, say: Say
) -> tuple[Release, GoldenAnswer] | None:
    """Return the live release when it is the wanted one, runs, and answers; it may be slow to start."""
    live = record.live_release
    if live is None or live.identity != wanted.identity:
        return None
    container = releases_of(client, spec.project, spec.service).get(live.number)
    if container is None or container.status != "running":
        return None
    try:
        return live, gate.ask(FrontDoor(front, _target(spec, live.number)), container, say)
    except HealthError:
        return None


def _undo(
    client: DockerClient,
    front: Front,
    spec: ContainerSpec,
    record: Record,
    release: Release,
    container: Container | None,
    error: BaseException,
    *,
    mine: Turn,
) -> None:
    """Take the new container away, unless the front has moved to it already, and note why it was refused."""
    try:
        mine.require()  # whoever has the turn now has taken it away, and the record is theirs
        if front.record().live == release.number:  # an interrupt came after the switch: the next run tidies up
            return
        if container is not None:
            end(container, gently=False)
        if isinstance(error, HealthError):
            record = record.with_refused(release, why=error.what)
            live = record.live_release
            front.put_in_force(record, target=None if live is None else _target(spec, live.number))
        clean(client, spec.project, spec.service, record)
        if record.live is None:  # nothing serves and nothing did: the port is free again
            end(front.container, gently=False)
    except TrimtabError as second:
        error.add_note(f"and tidying up failed, which the next run does: {second}")


def _retire(client: DockerClient, front: Front, project: str, service: str, *, live: int | None, say: Say) -> None:
    """Stop every release but the live one, once the requests that were theirs have ended."""
    others = [c for number, c in releases_of(client, project, service).items() if number != live]
    if not others:
        return
    if not front.drain(within_s=_DRAIN_S):
        say(f"requests from before are still open after {_DRAIN_S:.0f} s; the release that has them is stopped")
    for container in others:
        end(container)


def _target(spec: ContainerSpec, number: int) -> str:
    return f"{container_name(spec.project, spec.service, number)}:{INSIDE_PORT}"
