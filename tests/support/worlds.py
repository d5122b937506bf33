"""The harbour with everything that a catalogue can ask of AWS switched on, in two kinds, and its names as AWS has them.

`s3`: S3's own keys; one branch deploys, of a repository whose tokens carry numbers. `kms`: a key of the account's; one
environment deploys, of an older repository.
"""

from __future__ import annotations

from typing import Any, Final

from tests.support.catalogues import catalogue, text
from trimtab.catalogue import Catalogue

ACCOUNT: Final = "123456789012"
KEY: Final = f"arn:aws:kms:eu-north-1:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
WORLDS: Final = ("s3", "kms")

_EVERYTHING: Final[dict[str, Any]] = {
    "aws__monthly_budget": {"usd": 250, "alerts": ["pilots@harbour.example", "captain@harbour.example"]},
    "bucket__access_logs": {"bucket": "harbour-logs", "prefix": "s3/"},
    "bucket__cold": {
        "datasets/": {"after_days": 60, "tier": "STANDARD_IA"},
        "results/": {"after_days": 180, "tier": "DEEP_ARCHIVE"},
    },
    "bucket__old_versions": {"models/": 365},
    "modal__session": "4h",
    "registry": {"kind": "ecr", "keep": 5},
    "jobs__winds": {
        "data": "datasets/winds/",
        "results": "results/winds/",
        "source": "training.winds.source",
        "config": "configs/local/winds.yaml",
        "memory": "1GiB",
        "time": "1min",
    },
}
_STATE: Final = {"bucket": "harbour-state", "prefix": "pulumi/"}


def everything(world: str) -> Catalogue:
    """Return the catalogue of a world."""
    return catalogue(**_changes(world))


def everything_text(world: str) -> str:
    """Return it as the text of its file."""
    return text(**_changes(world))


def _changes(world: str) -> dict[str, Any]:
    github: dict[str, Any] = {"repository": "harbour/charts", "state": _STATE}
    if world == "kms":
        return {**_EVERYTHING, "bucket__kms_key": KEY, "github": {**github, "environment": "production"}}
    return {**_EVERYTHING, "github": {**github, "owner_id": 4711, "repository_id": 815, "branch": "main"}}
