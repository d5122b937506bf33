"""Which images the registry does not hold yet: what a push must build. Reads the checkout; asks registry and engine.

An image is named after its inputs, so that a name which is not there says that something changed, whatever the commits
in between were. Where the registry does not tell, the image counts as changed: building it again harms nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import ProgramError
from trimtab.images.build import LABEL_INPUTS
from trimtab.images.container import is_running, releases_of
from trimtab.images.inputs import service_inputs
from trimtab.images.registry import remote_reference

if TYPE_CHECKING:
    from docker import DockerClient

    from trimtab.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageState:
    """One variant of one service, the name that its inputs give it, and why it is to be built (empty: it is not).

    `verb` is the command that brings it about: a service's first variant is the one that serves (`deploy`, which asks
    it for health and for the golden answer before it is pushed), every other one is only made (`build`).
    """

    service: str
    variant: str
    verb: str
    reference: str
    why: str

    @property
    def changed(self) -> bool:
        return bool(self.why)


def image_states(
    root: Path,
    catalogue: Catalogue,
    *,
    digest_of: Callable[[str], str | None],
    serving: Callable[[str], str | None] | None = None,
    everything: bool = False,
) -> tuple[ImageState, ...]:
    """Return every image of the catalogue. `digest_of` asks the registry: a digest, or None where it holds none.

    `serving` tells from which inputs a service was made that serves on this machine. Given, a service that serves
    something else has changed as well: after a revert the registry holds the image, and nobody serves it yet. Raises
    UsageError where nothing says which registry that is.
    """
    states = []
    for name, service in catalogue.services.items():
        for position, variant in enumerate(service.variants):
            verb = "build" if position else "deploy"
            inputs = service_inputs(root, catalogue, name, variant)
            reference = remote_reference(catalogue, name, variant, inputs)
            why = "asked for" if everything else _why(reference, digest_of)
            if not why and serving is not None and verb == "deploy" and serving(name) != inputs:
                why = "not what serves here"
            states.append(ImageState(service=name, variant=variant, verb=verb, reference=reference, why=why))
    return tuple(states)


def serving_inputs(client: DockerClient, project: str, service: str) -> str | None:
    """Return what the one release was made from that serves a service here; None where there is none, or no one."""
    releases = releases_of(client, project, service).values()
    inputs = {release.labels.get(LABEL_INPUTS) for release in releases if is_running(release)}
    return inputs.pop() if len(inputs) == 1 else None


def _why(reference: str, digest_of: Callable[[str], str | None]) -> str:
    try:
        return "" if digest_of(reference) else "not in the registry"
    except ProgramError as error:
        return f"the registry does not tell: {error.why.splitlines()[0]}"
