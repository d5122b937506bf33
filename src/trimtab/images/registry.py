"""The registry: where a service's images are pushed, under which name, and whether one is there already.

A pushed image is named by what it is made from (`REPOSITORY:VARIANT-INPUTS`), so its name never moves, a second push
changes nothing, and CI sees what changed by asking for the name. Pushing and asking go through the engine, which knows
the credentials of `docker login`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError, UsageError
from trimtab.images.host import engine_errors

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

    from trimtab.catalogue import Catalogue

ADDRESS_VARIABLE: Final = "TRIMTAB_REGISTRY"
_INPUTS_LENGTH: Final = 16
_ECR_STACK: Final = "prod"


def repository(catalogue: Catalogue, service: str) -> str:
    """Return a service's repository. TRIMTAB_REGISTRY, where it is set, says where the registry is.

    Raises UsageError when neither it nor the catalogue does.
    """
    registry = catalogue.registry
    address = os.environ.get(ADDRESS_VARIABLE) or registry.address
    if address is None and registry.kind == "ghcr" and catalogue.github is not None:
        address = f"ghcr.io/{catalogue.github.repository.lower()}"
    if address is None:
        wanted = "ACCOUNT.dkr.ecr.REGION.amazonaws.com" if registry.kind == "ecr" else "ghcr.io/OWNER/NAME"
        raise UsageError(
            "it is not known where images are pushed",
            why=f"the catalogue's registry is {registry.kind}, and nothing says whose",
            remedy=f"set {ADDRESS_VARIABLE}={wanted}, or name a plain registry with its address in trimtab.yaml",
        )
    if registry.kind == "ecr":  # as infra/ names them
        return f"{address}/{catalogue.project}/{_ECR_STACK}/{service}"
    return f"{address}/{catalogue.project}/{service}"


def remote_reference(catalogue: Catalogue, service: str, variant: str, inputs: str) -> str:
    """Return the name under which an image made from these inputs is pushed."""
    return f"{repository(catalogue, service)}:{variant}-{inputs[:_INPUTS_LENGTH]}"


def remote_digest(client: DockerClient, reference: str) -> str | None:
    """Return the digest that a registry holds under a name, None when it holds none. Raises ProgramError."""
    from docker.errors import NotFound

    with engine_errors(None):
        try:
            return str(client.images.get_registry_data(reference).id)
        except NotFound:
            return None


def push(client: DockerClient, image: Image, reference: str) -> str:
    """Push an image, and return it by its digest: `REPOSITORY@sha256:...`. Raises ProgramError.

    The name is the image's on this machine only while it is pushed.
    """
    repository_name, _, tag = reference.rpartition(":")
    with engine_errors(None):
        image.tag(repository_name, tag)
        try:
            digest = _pushed(client, repository_name, tag)
        finally:
            client.images.remove(reference, noprune=True)
    return f"{repository_name}@{digest}"


def _pushed(client: DockerClient, repository_name: str, tag: str) -> str:
    digest = ""
    for line in client.images.push(repository_name, tag, stream=True, decode=True):
        if "error" in line:
            raise ProgramError(
                f"{repository_name}:{tag} was not pushed",
                why=str(line["error"]),
                remedy="sign in with `docker login`, see that the registry answers, and run the same command again",
            )
        digest = str(line.get("aux", {}).get("Digest", digest))
    return digest
