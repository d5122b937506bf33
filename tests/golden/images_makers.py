"""The golden files of the services' images: the builder's command line, and what the engine is asked to run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from trimtab.images.build import ImageBuild, docker_build_argv
from trimtab.images.container import ContainerSpec, run_arguments
from trimtab.units import GIB

_BUILD = ImageBuild(
    project="harbour",
    service="gulls",
    variant="cpu",
    context=Path("/project/services"),
    dockerfile=Path("/project/services/gulls/Dockerfile"),
    base_image="python:3.11-slim-bookworm",
    inputs="1f0c",
    revision="8d7e",
)
_SPEC = ContainerSpec(
    project="harbour",
    service="gulls",
    image="sha256:5a17",
    release="c0de",
    port=9001,
    memory_bytes=GIB,
    start_s=20,
    models=Path("/project/.trimtab/models"),
)


def make() -> dict[str, str]:
    """Return every golden file of the images."""
    return {
        "images/docker_build_argv.txt": _lines(docker_build_argv(_BUILD)),
        "images/docker_build_argv_private_index.txt": _lines(
            docker_build_argv(_BUILD, passed_on=("PIP_INDEX_URL", "PIP_TRUSTED_HOST"))
        ),
        "images/run_arguments_candidate.json": _document(run_arguments(_SPEC, role="candidate", port=None)),
        "images/run_arguments_serving.json": _document(run_arguments(_SPEC, role="serving", port=_SPEC.port)),
    }


def _lines(argv: tuple[str, ...]) -> str:
    return "".join(f"{shlex.quote(word)}\n" for word in argv)


def _document(arguments: dict[str, object]) -> str:
    return json.dumps(arguments, indent=2) + "\n"
