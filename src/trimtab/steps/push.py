"""Step: push one image to the catalogue's registry, under a name that is made of its inputs."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.executor import Result, Say
from trimtab.images.build import image_tag
from trimtab.images.engine import connect, connect_or_none
from trimtab.images.host import engine_errors
from trimtab.images.inputs import service_inputs
from trimtab.images.registry import push, remote_digest, remote_reference, repository
from trimtab.plan import Cost, Step
from trimtab.project import Project
from trimtab.units import MIB

# Layers are packed on the way: the engine holds a few of their pieces at a time, and no second copy on the disk.
_DECLARED = Cost(peak_bytes=MIB, kept_bytes=0, memory_bytes=None, wall_s=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushImage:
    """Push a service's image; `forget` it here afterwards, so that it makes room for the next one."""

    service: str
    variant: str
    forget: bool


def push_step(action: PushImage) -> Step:
    """Return the step."""
    return Step(
        name=f"push:{action.service}:{action.variant}",
        title=f"image {action.service} ({action.variant}) in the registry",
        action=action,
        predicted=_DECLARED,
        disk="engine",
    )


class PushHandler:
    """Carries it out."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def preflight(self, action: PushImage) -> None:
        """Refuse a catalogue whose registry is not known. Raises UsageError."""
        repository(self._project.catalogue, action.service)

    def finished(self, action: PushImage) -> Result | None:
        """Return what the registry holds of these inputs. Raises ProgramError when it does not answer."""
        client = connect_or_none()
        reference = self._reference(action)
        digest = client and remote_digest(client, reference)
        return None if digest is None else self._result(reference, f"{reference.rpartition(':')[0]}@{digest}")

    def run(self, action: PushImage, say: Say) -> Result:
        """Push it. Raises ProgramError."""
        client = connect()
        reference = self._reference(action)
        tag = image_tag(self._project.catalogue.project, action.service, action.variant)
        say(f"to {reference}")
        pushed = push(client, client.images.get(tag), reference)
        if action.forget:
            with engine_errors(None):
                client.images.remove(tag)
        return self._result(reference, pushed)

    def _result(self, reference: str, pushed: str) -> Result:
        return {"reference": pushed, "name": reference}

    def _reference(self, action: PushImage) -> str:
        catalogue = self._project.catalogue
        inputs = service_inputs(self._project.root, catalogue, action.service, action.variant)
        return remote_reference(catalogue, action.service, action.variant, inputs)
