"""Step: back to a release that was healthy, by its digest, through the same gate and the same switch.

The image and the models are on the host: the last releases are kept there whole. A registry is asked only for an image
that somebody took away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trimtab.catalogue import Service
from trimtab.errors import ProgramError, UsageError
from trimtab.executor import Result, Say
from trimtab.images.container import container_name
from trimtab.images.engine import image_or_none
from trimtab.images.front import Front, front_or_none
from trimtab.images.host import engine_of, pulled_or_none, require_host
from trimtab.images.record import Release
from trimtab.images.turn import TurnSpec, turn
from trimtab.images.volume import has_volume
from trimtab.plan import Cost, Step
from trimtab.process import Runner
from trimtab.project import Project
from trimtab.steps.service import Serve, ServiceHandler, identity_of
from trimtab.units import MIB

if TYPE_CHECKING:
    from docker import DockerClient


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Go back to the last healthy release of a service that differs, or to the one with a digest or number."""

    service: str
    to: str | None = None
    host: str | None = None


def rollback_step(name: str, service: Service, *, to: str | None, host: str | None) -> Step:
    """Return the step. Nothing is written but the record."""
    return Step(
        name=f"rollback:{name}" + (f"@{host}" if host else ""),
        title=f"service {name} back to {to or 'its last healthy release'}" + (f" on {host}" if host else ""),
        action=RollBack(service=name, to=to, host=host),
        predicted=Cost(peak_bytes=MIB, kept_bytes=MIB, memory_bytes=2 * service.memory, wall_s=15),
    )


class RollBackHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, service: ServiceHandler) -> None:
        self._project = project
        self._runner = runner
        self._service = service

    def preflight(self, action: RollBack) -> None:
        """Refuse a host that does not answer, and a release that is not on record. Raises UsageError, ProgramError."""
        if action.host is not None:
            require_host(action.host)
        with engine_of(action.host, self._runner) as client:
            standing_front(client, self._project, action.service).record_at_once().rollback_target(action.to)

    def finished(self, action: RollBack) -> Result | None:  # noqa: ARG002 - a handler's signature
        """Never: whoever asks to go back means from what serves now."""
        return None

    def run(self, action: RollBack, say: Say) -> Result:
        """Bring the older release live. Raises HealthError when it is refused; what serves then serves on."""
        with engine_of(action.host, self._runner) as there:
            front = standing_front(there, self._project, action.service)
            asked = front.record_at_once()
            spec = TurnSpec(
                project=self._project.catalogue.project, service=action.service, image=front.image, purpose="rollback"
            )
            with turn(there, spec, say=say) as mine:
                front = standing_front(there, self._project, action.service)  # it may have been replaced meanwhile
                record = front.record()
                if record.live != asked.live:
                    raise UsageError(
                        f"{action.service} was not rolled back",
                        why=f"release {record.live} took over from {asked.live} while this waited for its turn",
                        remedy="see `trimtab images releases`; roll back again if you mean that one too",
                    )
                target = record.rollback_target(action.to)
                wanted = self._wanted(there, action, target, say)
                say(f"back to release {target.number} ({wanted.digest.removeprefix('sha256:')[:12]})")
                serve = Serve(service=action.service, variant=target.variant, host=action.host)
                result = self._service.bring_live(serve, there, front, wanted, say, mine=mine, withdraw=True)
                return {**result, "rolled_back_to": target.number, "from": record.live}

    def _wanted(self, there: DockerClient, action: RollBack, target: Release, say: Say) -> Release:
        """Return the release that brings an older one back. Raises ProgramError when its image or models are gone."""
        digest = self._image(there, target, say)
        if not has_volume(there, target.models_volume):
            raise ProgramError(
                f"release {target.number} cannot come back",
                why=f"its models are gone: there is no volume {target.models_volume}",
                remedy="name another release with --to, or deploy one",
            )
        section = self._project.catalogue.services[action.service]
        return replace(
            target,
            digest=digest,
            identity=identity_of(section, digest=digest, models_volume=target.models_volume),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            healthy=False,
            withdrawn=False,
        )

    def _image(self, client: DockerClient, target: Release, say: Say) -> str:
        """Return the id of a release's image. Raises ProgramError when neither the host nor a registry has it."""
        if image_or_none(client, target.digest) is not None:
            return target.digest
        if target.reference and (pulled := pulled_or_none(client, target.reference, say=say)) is not None:
            return pulled
        raise ProgramError(
            f"release {target.number} cannot come back",
            why=f"its image {target.digest} is not on the host any more, and no registry gave it",
            remedy="name another release with --to (`trimtab images releases` lists them), or deploy one",
        )


def standing_front(client: DockerClient, project: Project, service: str) -> Front:
    """Return a service's front, which knows its releases. Raises UsageError where there is none."""
    front = front_or_none(client, project.catalogue.project, service)
    if front is None:
        raise UsageError(
            f"nothing is known of releases of {service}",
            why=f"its front, {container_name(project.catalogue.project, service, 'front')}, does not run",
            remedy="`trimtab local` or `trimtab images deploy` starts it; the record of its releases is kept",
        )
    return front
