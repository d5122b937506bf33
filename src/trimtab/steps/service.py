"""Step: a service's release on this machine or a host, checked before traffic moves to it from the one that serves.

The new container starts beside the serving one, is asked from inside its network, and takes over at the front. Whatever
fails, what served before serves without a break.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from trimtab.catalogue import Service
from trimtab.errors import HealthError, ProgramError, UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import LABEL_INPUTS, image_tag
from trimtab.images.container import ContainerSpec, is_running, limits_environment, port_is_taken, releases_of
from trimtab.images.engine import connect, connect_or_none, image_or_none
from trimtab.images.estimate import Declared, release_bytes
from trimtab.images.front import Front, FrontSpec, ensure_front, front_or_none, front_tag
from trimtab.images.golden import GoldenAnswer, HttpDoor, ask_golden, wait_until_healthy
from trimtab.images.host import engine_of, ensure_image, require_host, require_reachable
from trimtab.images.inputs import service_inputs
from trimtab.images.record import Release
from trimtab.images.registry import remote_digest, remote_reference
from trimtab.images.release import Gate, bring_live
from trimtab.images.turn import Turn, TurnSpec, turn
from trimtab.images.volume import Models, ensure_models
from trimtab.images.weights import manifest_path, model_chunks, read_weights
from trimtab.plan import Cost, Step
from trimtab.process import Runner
from trimtab.project import Project, current_commit
from trimtab.storage.bucket import BucketAccess

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Serve a service's variant on its port, on this machine or on a host over SSH."""

    service: str
    variant: str
    host: str | None = None


def service_step(name: str, service: Service, variant: str, declared: Declared, *, host: str | None = None) -> Step:
    """Return the step. Its memory is twice its container's limit: the old and the new one run side by side.

    It writes the service's models into the engine that serves them, and nothing here when that is a host's.
    """
    disk_bytes = 0 if host is not None else release_bytes(declared.models.get(name, ()))
    return Step(
        name=f"serve:{name}:{variant}" + (f"@{host}" if host else ""),
        title=f"service {name} ({variant}) on port {service.port}" + (f" of {host}" if host else ""),
        action=Serve(service=name, variant=variant, host=host),
        predicted=Cost(peak_bytes=disk_bytes, kept_bytes=disk_bytes, memory_bytes=2 * service.memory, wall_s=15),
        disk="engine",
    )


class ServiceHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, bucket: BucketAccess) -> None:
        self._project = project
        self._runner = runner
        self._bucket = bucket

    def preflight(self, action: Serve) -> None:
        """Refuse a golden picture that is not there, a port that another program holds, a host that does not answer.

        Raises UsageError, ProgramError.
        """
        service = self._service(action)
        picture = self._project.root / service.golden.picture
        if not picture.is_file():
            raise UsageError(
                f"service {action.service} cannot be checked",
                why=f"its golden picture {picture} does not exist",
                remedy=f"add it, or mend services.{action.service}.golden.picture in trimtab.yaml",
            )
        if action.host is not None:
            require_reachable(require_host(action.host), self._runner)
            return
        client = connect_or_none()
        front = client and front_or_none(client, self._project.catalogue.project, action.service)
        if not (front and front.port == service.port) and (holder := port_is_taken(service.port)):
            raise UsageError(
                f"service {action.service} cannot have port {service.port}",
                why=holder,
                remedy=f"end that program, or change services.{action.service}.port in trimtab.yaml",
            )

    def finished(self, action: Serve) -> Result | None:
        """Return the live release when it is the current image with the current models, and answers rightly now."""
        client = connect_or_none() if action.host is None else None
        image = client and image_or_none(client, self._tag(action))
        front_image = client and image_or_none(client, front_tag(self._project.catalogue.project))
        if client is None or not image or not front_image:  # a host's state is looked at when the step runs
            return None
        front = front_or_none(client, self._project.catalogue.project, action.service)
        if front is None or (front.image, front.port) != (front_image.id, self._service(action).port):
            return None
        live = front.record_at_once().live_release
        if live is None or live.identity != self._wanted(action, image).identity:
            return None
        containers = releases_of(client, self._project.catalogue.project, action.service)
        if set(containers) != {live.number}:  # a run was cut off: traffic may still be at the one before
            return None
        door = HttpDoor(f"http://127.0.0.1:{front.port}")
        try:
            wait_until_healthy(door, within_s=2, is_running=lambda: is_running(containers[live.number]))
            answer = ask_golden(door, self._service(action).golden, root=self._project.root)
        except HealthError:
            return None
        return self._result(action, live, answer)

    def run(self, action: Serve, say: Say) -> Result:
        """Bring image and models to the engine that is to serve them, and the release live. Raises HealthError."""
        with closing(connect()) as here, engine_of(action.host, self._runner) as there:
            models = self._models(action)
            read = partial(model_chunks, client=self._bucket.operator(), bucket=self._bucket.name)
            door = self._front(action, here, there, say)
            commit = current_commit(self._project.root)[:10] or "unknown"
            spec = TurnSpec(
                project=door.project, service=door.service, image=door.image, purpose=f"release of commit {commit}"
            )
            with turn(there, spec, say=say) as mine:
                image = self._image(action, here)
                references = self._references(action, here, image)
                image_id = ensure_image(here, there, image, host=action.host, references=references, say=say)
                front = ensure_front(there, door, say=say)
                proven = front.record_at_once().proven_models
                ensure_models(there, models, image=image_id, proven=proven, read=read, say=say)
                wanted = self._wanted(action, image, image_id, references)
                return self.bring_live(action, there, front, wanted, say, mine=mine)

    def bring_live(
        self,
        action: Serve,
        there: DockerClient,
        front: Front,
        wanted: Release,
        say: Say,
        *,
        mine: Turn,
        withdraw: bool = False,
    ) -> Result:
        """Bring a release live whose image and models are there, in our turn. Raises HealthError, ProgramError.

        `withdraw` marks the one that it takes over from: a rollback does not come back to that by itself.
        """
        service, project = self._service(action), self._project.catalogue.project
        spec = ContainerSpec(
            project=project,
            service=action.service,
            image=wanted.digest,
            release=wanted.identity,
            memory_bytes=service.memory,
            models_volume=wanted.models_volume,
            environment=limits_environment(service.limits),
            gpu=action.variant == "gpu",
        )
        gate = Gate(golden=service.golden, root=self._project.root, start_s=service.start)
        release, answer = bring_live(there, front, spec, wanted, gate=gate, mine=mine, say=say, withdraw=withdraw)
        return self._result(action, release, answer)

    def _image(self, action: Serve, here: DockerClient) -> Image:
        """Return the image of these sources. Raises ProgramError when another checkout's took its name."""
        image = here.images.get(self._tag(action))
        inputs = service_inputs(self._project.root, self._project.catalogue, action.service, action.variant)
        if image.labels.get(LABEL_INPUTS) != inputs:
            raise ProgramError(
                f"{self._tag(action)} is not made from these sources",
                why="somebody built it from others since: two checkouts use this engine",
                remedy="run the same command again: it builds it anew",
            )
        return image

    def _front(self, action: Serve, here: DockerClient, there: DockerClient, say: Say) -> FrontSpec:
        """Return how the front is run, with its image there."""
        service, project = self._service(action), self._project.catalogue.project
        image = image_or_none(here, front_tag(project))
        if image is None:
            raise ProgramError(
                "the front has no image",
                why=f"{front_tag(project)} is not on this engine",
                remedy="`trimtab images deploy` and `trimtab local` build it first",
            )
        image_id = ensure_image(here, there, image, host=action.host, references=(), say=say)
        return FrontSpec(project=project, service=action.service, image=image_id, port=service.port)

    def _service(self, action: Serve) -> Service:
        return self._project.catalogue.services[action.service]

    def _tag(self, action: Serve) -> str:
        return image_tag(self._project.catalogue.project, action.service, action.variant)

    def _models(self, action: Serve) -> Models:
        return Models(
            project=self._project.catalogue.project,
            service=action.service,
            manifest=manifest_path(self._project.root, action.service).read_bytes(),
            weights=read_weights(self._project.root, action.service),
        )

    def _references(self, action: Serve, here: DockerClient, image: Image) -> tuple[str, ...]:
        """Return the names by which a registry holds an image, by digest. It is asked for a release to a host only."""
        known = tuple(str(reference) for reference in image.attrs["RepoDigests"])
        if known or action.host is None:
            return known
        try:
            inputs = image.labels.get(LABEL_INPUTS, "")
            name = remote_reference(self._project.catalogue, action.service, action.variant, inputs)
            digest = remote_digest(here, name)
        except (UsageError, ProgramError):  # there is no registry, or it does not answer: the image is streamed
            return ()
        return (f"{name.rpartition(':')[0]}@{digest}",) if digest else ()

    def _wanted(
        self, action: Serve, image: Image, image_id: str | None = None, references: tuple[str, ...] = ()
    ) -> Release:
        """Return the release that the catalogue and the current image ask for, without a number.

        `image_id` is the image's id on the host, where that differs.
        """
        models, digest = self._models(action), image_id or str(image.id)
        return Release(
            number=0,
            digest=digest,
            reference=next(iter(references), ""),
            variant=action.variant,
            commit=image.labels.get("org.opencontainers.image.revision") or current_commit(self._project.root),
            models=models.sha256,
            models_volume=models.volume,
            identity=identity_of(self._service(action), digest=digest, models_volume=models.volume),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _result(self, action: Serve, release: Release, answer: GoldenAnswer) -> Result:
        service = self._service(action)
        return {
            "address": f"http://127.0.0.1:{service.port}/",
            **({"host": action.host} if action.host else {}),
            "release": release.number,
            "digest": release.digest,
            "reference": release.reference,
            "golden": {
                "picture": service.golden.picture,
                "answer": answer.document,
                "milliseconds": answer.milliseconds,
            },
        }


def identity_of(service: Service, *, digest: str, models_volume: str) -> str:
    """Return the digest of all that makes a release what it is: image, models, and what the catalogue gives it."""
    parts = (digest, models_volume, str(service.memory), *limits_environment(service.limits).values())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
