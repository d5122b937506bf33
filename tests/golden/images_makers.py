"""The golden files of the services' images: the builder's command line."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from trimtab.images.build import ImageBuild, docker_build_argv

_BUILD = ImageBuild(
    project="harbour",
    service="gulls",
    variant="cpu",
    context=Path("/project/services"),
    dockerfile=Path("/project/services/Dockerfile"),
    base_image="harbour/base:cpu",
    inputs="1f0c",
    arguments=(("SERVICE", "gulls"), ("REVISION", "8d7e")),
)


def make() -> dict[str, str]:
    """Return every golden file of the images."""
    return {
        "images/docker_build_argv.txt": _lines(docker_build_argv(_BUILD)),
        "images/docker_build_argv_private_index.txt": _lines(
            docker_build_argv(replace(_BUILD, secrets=("PIP_INDEX_URL", "PIP_TRUSTED_HOST")))
        ),
    }


def _lines(argv: tuple[str, ...]) -> str:
    return "".join(f"{shlex.quote(word)}\n" for word in argv)
