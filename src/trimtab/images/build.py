"""What is handed to buildx, and what a build depends on. Pure, but for reading the build context."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LABEL_PROJECT: Final = "org.trimtab.project"
LABEL_SERVICE: Final = "org.trimtab.service"
LABEL_VARIANT: Final = "org.trimtab.variant"
LABEL_INPUTS: Final = "org.trimtab.inputs"

BASE_SERVICE: Final = "base"
"""The name that stands in a service's place in the tag and the label of the image that all services stand on."""

INDEX_VARIABLES: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
TORCH_INDEX_VARIABLE: Final = "TORCH_INDEX_URL"
_PASSED_OVER: Final = frozenset({"__pycache__", ".pytest_cache"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """One image to build: `context` is the folder that is sent, `dockerfile` lies inside it.

    `inputs` is the digest of all that it is made from, `arguments` are the build's own beside the base's, and
    `secrets` names the environment variables that the build may read and that leave no trace in the image.
    """

    project: str
    service: str
    variant: str
    context: Path
    dockerfile: Path
    base_image: str
    inputs: str
    arguments: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The image's name on this machine."""
        return image_tag(self.project, self.service, self.variant)

    @property
    def candidate_tag(self) -> str:
        """The name that it is built under: only an image that was measured and fits gets the other one."""
        return f"{self.tag}-candidate"


def image_tag(project: str, service: str, variant: str) -> str:
    """Return the name that a service's image has: `PROJECT/SERVICE:VARIANT`."""
    return f"{project}/{service}:{variant}"


def docker_build_argv(build: ImageBuild) -> tuple[str, ...]:
    """Return the argv that builds an image into this machine's engine, under its candidate's name.

    The builder is the engine's own: another one that is in use here would not see the engine's base image, and would
    hold every layer a second time. Values of secrets stay out of argv, and out of the image's history.
    """
    labels = {
        LABEL_PROJECT: build.project,
        LABEL_SERVICE: build.service,
        LABEL_VARIANT: build.variant,
        LABEL_INPUTS: build.inputs,
    }
    return (
        "docker", "buildx", "build",
        "--builder", "default",
        "--progress", "plain",
        "--load",
        "--provenance", "false",
        "--file", str(build.dockerfile),
        "--tag", build.candidate_tag,
        "--build-arg", f"BASE={build.base_image}",
        *(word for name, value in build.arguments for word in ("--build-arg", f"{name}={value}")),
        *(word for name in build.secrets for word in ("--secret", f"id={name},env={name}")),
        *(word for name, value in labels.items() for word in ("--label", f"{name}={value}")),
        str(build.context),
    )  # fmt: skip


def inputs_digest(files: tuple[Path, ...], *, root: Path, also: tuple[str, ...]) -> str:
    """Return a digest of everything that a build reads: these files' paths and bytes, and further values.

    `files` may name folders, which are read whole. The digest is a label on the image; while it is the same, the
    image is not built again.
    """
    digest = hashlib.sha256()
    for value in also:
        digest.update(f"{len(value)}:{value}".encode())
    for path in sorted(_all_files(files)):
        content = path.read_bytes()
        name = path.relative_to(root).as_posix()
        digest.update(f"{len(name)}:{name}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def _all_files(paths: tuple[Path, ...]) -> set[Path]:
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(
                file
                for file in path.rglob("*")
                if file.is_file() and not _PASSED_OVER.intersection(file.relative_to(path).parts)
            )
        else:
            found.add(path)
    return found
