"""The golden files of releases: what the engine is asked to run, the front's configuration, and the record."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from deploy.front.front import configuration
from trimtab.images.container import ContainerSpec, run_arguments
from trimtab.images.front import FrontSpec, front_arguments, front_build_argv
from trimtab.images.record import Record, Release
from trimtab.images.turn import TurnSpec, turn_arguments
from trimtab.units import GIB

_SPEC = ContainerSpec(
    project="harbour",
    service="gulls",
    image="sha256:5a17",
    release="c0de",
    memory_bytes=GIB,
    models_volume="harbour-gulls-models-0b1e",
    environment={"MAX_BODY_BYTES": "1024"},
)
_FRONT = FrontSpec(project="harbour", service="gulls", image="sha256:f407", port=9001)
_TURN = TurnSpec(project="harbour", service="gulls", image="sha256:f407", purpose="release of commit 8d7e")
_RELEASE = Release(
    number=7,
    digest="sha256:5a17",
    reference="registry.example/harbour/gulls@sha256:9e61",
    variant="cpu",
    commit="8d7e",
    models={"gulls.onnx": "3158"},
    models_volume="harbour-gulls-models-0b1e",
    identity="c0de",
    made_at="2030-01-01T00:00:00+00:00",
)


def make() -> dict[str, str]:
    """Return every golden file of releases."""
    record = Record().with_live(_RELEASE).document(target="harbour-gulls-7:8000")
    argv = front_build_argv(
        project="harbour",
        base_image="python:3.11-slim-bookworm",
        inputs="1f0c",
        revision="8d7e",
        context=Path("/project/deploy/front"),
    )
    return {
        "releases/front_arguments.json": _document(front_arguments(_FRONT)),
        "releases/front_build_argv.txt": "".join(f"{shlex.quote(word)}\n" for word in argv),
        "releases/haproxy.cfg": configuration(record),
        "releases/haproxy_without_release.cfg": configuration(Record().document(target=None)),
        "releases/record.json": _document(record),
        "releases/run_arguments.json": _document(run_arguments(_SPEC, number=7)),
        "releases/run_arguments_gpu.json": _document(run_arguments(replace(_SPEC, gpu=True), number=8)),
        "releases/turn_arguments.json": _document(turn_arguments(_TURN, holder="ana@desk")),
    }


def _document(arguments: object) -> str:
    return json.dumps(arguments, indent=2) + "\n"
