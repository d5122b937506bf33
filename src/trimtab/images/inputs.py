"""What the images are made from: digests of everything that a build reads. They need no engine, so CI can ask as well.

The base image counts by its name: pin it by digest in the catalogue, and its content counts too. On this machine an
image must stand on the layers of the base that is here, whatever its digest says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.images.build import inputs_digest

if TYPE_CHECKING:
    from trimtab.catalogue import Catalogue

CONTEXT: Final = "services"
BASE_DOCKERFILE: Final = "base/Dockerfile"
SERVICE_DOCKERFILE: Final = "Dockerfile"


def base_inputs(root: Path, catalogue: Catalogue, variant: str) -> str:
    """Return the digest of what a variant's shared base is made from."""
    context = root / CONTEXT
    locks = (
        context / f"requirements-{variant}.lock",
        context / f"{variant}-cpu.lock",
    )  # torch's first layer has its own
    files = (context / "base", *locks, context / ".dockerignore")
    return _digest(files, context, also=("base", catalogue.base_image, variant))


def service_inputs(root: Path, catalogue: Catalogue, service: str, variant: str) -> str:
    """Return the digest of what a service's image is made from, its shared base included.

    Another service's files are no part of it: a changed service is one image to build.
    """
    context = root / CONTEXT
    files = (
        context / SERVICE_DOCKERFILE,
        context / ".dockerignore",
        context / "__init__.py",
        context / "serving",
        context / service / "models.toml",
    )
    return _digest(files, context, also=(service, base_inputs(root, catalogue, variant)))


def _digest(files: tuple[Path, ...], context: Path, *, also: tuple[str, ...]) -> str:
    return inputs_digest(tuple(file for file in files if file.exists()), root=context, also=also)
