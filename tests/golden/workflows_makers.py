"""The golden files of workflows/: what catalogues unlike this project's own are rendered to. Its own is .github/."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final

from tests.support.catalogues import catalogue
from tests.support.worlds import everything
from trimtab.catalogue import Catalogue
from workflows.rendered import render

_TWO_SERVICES: Final[dict[str, Any]] = {
    "services__terns": {
        "port": 9002,
        "memory": "256MiB",
        "start": "20s",
        "variants": {"cpu": {"size_over_base": "10MB"}, "gpu": {"size_over_base": "1GiB"}},
        "golden": {"picture": "services/terns/golden.jpg", "post": "/v1/detect", "expect": {"tern": 1}},
    },
}


def worlds() -> dict[str, Catalogue]:
    """Return the catalogues, by the folder of their files."""
    return {
        "own-machine": catalogue(
            ci={"runner": "self-hosted", "shares_disk": True},
            registry={"kind": "plain", "address": "127.0.0.1:5000"},
            **_TWO_SERVICES,
        ),
        "branch-deploys-to-ecr": everything("s3"),
        "environment-deploys-to-ecr": everything("kms"),
        "branch-deploys-to-ghcr": catalogue(github={"repository": "Harbour/charts", "branch": "trunk"}),
    }


def make() -> dict[str, str]:
    """Return every file."""
    return {
        f"workflows/{name}/{PurePosixPath(path).name}": text
        for name, world in worlds().items()
        for path, text in render(world).items()
    }
