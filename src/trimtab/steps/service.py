"""Step: a service's container on this machine, checked before it takes the place of the one that serves.

The candidate starts beside the serving container, on a free port, and must be healthy and answer the golden request.
Only then is the serving one replaced; if the replacement does not come up, the one before it is started again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.catalogue import Service
from trimtab.errors import HealthError, UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import LABEL_PROJECT, LABEL_SERVICE, image_tag
from trimtab.images.container import (
    LABEL_RELEASE,
    ContainerSpec,
    container_or_none,
    holds_port,
    port_is_taken,
    replace_serving,
    serving_address,
    try_candidate,
)
from trimtab.images.engine import connect, connect_or_none, image_or_none
from trimtab.images.golden import GoldenAnswer, ask_golden, wait_until_healthy
from trimtab.images.weights import Weights, fetch_weights, read_weights
from trimtab.plan import Cost, Step
from trimtab.project import Project
from trimtab.storage.bucket import BucketAccess
from trimtab.units import MIB

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Serve a service's variant on its port."""

    service: str
    variant: str


def service_step(name: str, service: Service, variant: str) -> Step:
    """Return the step. Its memory is its container's limit."""
    return Step(
        name=f"serve:{name}:{variant}",
        title=f"service {name} ({variant}) on port {service.port}",
        action=Serve(service=name, variant=variant),
        predicted=Cost(peak_bytes=64 * MIB, kept_bytes=64 * MIB, memory_bytes=service.memory, wall_s=15),
    )


class ServiceHandler:
    """Carries it out."""

    def __init__(self, project: Project, bucket: BucketAccess) -> None:
        self._project = project
        self._bucket = bucket

    def preflight(self, action: Serve) -> None:
        """Refuse a port that another program holds, and a golden picture that is not there. Raises UsageError."""
        service = self._service(action)
        picture = self._project.root / service.golden.picture
        if not picture.is_file():
            raise UsageError(
                f"service {action.service} cannot be checked",
                why=f"its golden picture {picture} does not exist",
                remedy=f"add it, or mend services.{action.service}.golden.picture in trimtab.yaml",
            )
        client = connect_or_none()
        ours = client is not None and holds_port(client, self._project.catalogue.project, action.service, service.port)
        if not ours and (holder := port_is_taken(service.port)):
            raise UsageError(
                f"service {action.service} cannot have port {service.port}",
                why=holder,
                remedy=f"end that program, or change services.{action.service}.port in trimtab.yaml",
            )

    def finished(self, action: Serve) -> Result | None:
        """Return the release when its container serves the current image and models and answers rightly now."""
        client = connect_or_none()
        image = client and image_or_none(client, self._tag(action))
        if client is None or image is None:
            return None
        serving = self._serving(client, action)
        if serving is None or serving.status != "running":
            return None
        spec = self._spec(action, str(image.id), read_weights(self._project.root, action.service))
        if serving.labels.get(LABEL_RELEASE) != spec.release:
            return None
        try:
            wait_until_healthy(serving_address(serving), within_s=2, is_running=lambda: True)
            answer = ask_golden(serving_address(serving), self._service(action).golden, root=self._project.root)
        except HealthError:
            return None
        return self._result(action, spec, answer)

    def run(self, action: Serve, say: Say) -> Result:
        """Fetch the models by checksum, try a candidate, and put it in the serving one's place. Raises HealthError."""
        client = connect()
        image = client.images.get(self._tag(action))
        weights = read_weights(self._project.root, action.service)
        fetch_weights(weights, self._bucket.operator(), self._bucket.name, self._models_folder, say=say)
        spec = self._spec(action, str(image.id), weights)

        def check(address: str) -> GoldenAnswer:
            return ask_golden(address, self._service(action).golden, root=self._project.root)

        say("a candidate starts beside the serving container")
        try_candidate(client, spec, check=check, say=say)
        answer = replace_serving(client, spec, check=check, say=say)
        # Images of this service that lost their name to a newer build, and that no container uses any more.
        ours = [f"{LABEL_PROJECT}={spec.project}", f"{LABEL_SERVICE}={spec.service}"]
        client.images.prune(filters={"dangling": True, "label": ours})
        return self._result(action, spec, answer)

    @property
    def _models_folder(self) -> Path:
        return self._project.state / "models"

    def _service(self, action: Serve) -> Service:
        return self._project.catalogue.services[action.service]

    def _tag(self, action: Serve) -> str:
        return image_tag(self._project.catalogue.project, action.service, action.variant)

    def _serving(self, client: DockerClient, action: Serve) -> Container | None:
        return container_or_none(client, self._project.catalogue.project, action.service, "serving")

    def _spec(self, action: Serve, image_id: str, weights: tuple[Weights, ...]) -> ContainerSpec:
        service = self._service(action)
        parts = (
            image_id,
            str(self._models_folder),
            str(service.port),
            str(service.memory),
            *(w.sha256 for w in weights),
        )
        return ContainerSpec(
            project=self._project.catalogue.project,
            service=action.service,
            image=image_id,
            release=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
            port=service.port,
            memory_bytes=service.memory,
            start_s=service.start,
            models=self._models_folder,
        )

    def _result(self, action: Serve, spec: ContainerSpec, answer: GoldenAnswer) -> Result:
        return {
            "address": f"http://127.0.0.1:{spec.port}/",
            "release": spec.release,
            "image": spec.image,
            "golden": {
                "picture": self._service(action).golden.picture,
                "answer": answer.document,
                "milliseconds": answer.milliseconds,
            },
        }
