"""Who asks, and under which policies: the documents of each world, as the program would send them to AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from infra import github_policies, policies
from infra.estate import Estate
from tests.iam.simulator import Trial
from tests.support.worlds import ACCOUNT, KEY, everything

ALLOWED, REFUSED, DENIED = "Allowed", "ImplicitlyDenied", "ExplicitlyDenied"

BUCKET: Final = "arn:aws:s3:::harbour-charts-dev"
STATE: Final = "arn:aws:s3:::harbour-state"
ROLES: Final = f"arn:aws:iam::{ACCOUNT}:role/harbour/dev"
TIDES_ROLE: Final = f"{ROLES}/jobs/modal-tides-1a2b3c4"
PREVIEW_ROLE: Final = f"{ROLES}/github/github-preview-1a2b3c4"
DEPLOYMENT_ROLE: Final = f"{ROLES}/github/github-deployment-1a2b3c4"
BOUNDARY: Final = f"arn:aws:iam::{ACCOUNT}:policy/harbour/dev/job-boundary"
MODAL: Final = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.modal.com"
GITHUB: Final = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
STRANGER: Final = "210987654321"

_EVERYTHING: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "Everything", "Effect": "Allow", "Action": "*", "Resource": "*"}],
}
# The owner of a key leaves it to IAM who uses it: without this, no role's policy counts for the key.
_KEY_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "LeftToIam",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}
_TRUSTS: Final = {
    TIDES_ROLE: "trust of tides",
    PREVIEW_ROLE: "trust of preview",
    DEPLOYMENT_ROLE: "trust of deployment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody, by the names of the documents that they act under."""

    principal: str
    identity: tuple[str, ...] = ()
    boundary: tuple[str, ...] = ()


def _session(role: str) -> str:
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/session"


ACTORS: Final[Mapping[str, Actor]] = {
    # A job where nobody deploys from GitHub, and where somebody does.
    "tides": Actor(principal=_session(TIDES_ROLE), identity=("access of tides",)),
    "bounded tides": Actor(principal=_session(TIDES_ROLE), identity=("access of tides",), boundary=("boundary",)),
    "winds": Actor(principal=_session("modal-winds-1a2b3c4"), identity=("access of winds",)),
    # A role that somebody made for a job with every right, as far as a deployment could.
    "overreach": Actor(principal=_session("modal-overreach"), identity=("everything",), boundary=("boundary",)),
    "preview": Actor(principal=_session(PREVIEW_ROLE), identity=("access of preview",)),
    "deployment": Actor(principal=_session(DEPLOYMENT_ROLE), identity=("access of deployment",)),
    "operator": Actor(principal=f"arn:aws:iam::{ACCOUNT}:user/operator", identity=("everything",)),
    "stranger": Actor(principal=f"arn:aws:iam::{STRANGER}:user/stranger", identity=("everything",)),
    "Modal": Actor(principal=MODAL),
    "GitHub": Actor(principal=GITHUB),
    "another issuer": Actor(principal=f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com"),
}


@cache
def documents_of(world: str) -> Mapping[str, Any]:
    """Return a world's documents by name."""
    catalogue = everything(world)
    github = catalogue.github
    assert github is not None
    key = catalogue.bucket.kms_key
    estate = Estate.of(catalogue, "dev", GITHUB)
    jobs = {
        f"access of {name}": policies.job_access(BUCKET, data=job.data, results=job.results, kms_key=key)
        for name, job in catalogue.jobs.items()
    }
    return {
        **jobs,
        "boundary": policies.job_boundary(BUCKET, kms_key=key),
        "bucket": policies.bucket_access(BUCKET, kms_key=key),
        "trust of tides": policies.modal_trust(MODAL, catalogue.modal),
        "trust of preview": policies.pull_request_trust(GITHUB, github),
        "trust of deployment": policies.deployment_trust(GITHUB, github),
        "access of preview": github_policies.preview_access(estate),
        "access of deployment": github_policies.deployment_access(estate),
    }


FIXED: Final = {"everything": _EVERYTHING, "key": _KEY_POLICY}
"""What is not ours, and is never mutated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request of an actor in a world, and the verdict that the house means."""

    world: str
    who: str
    action: str
    on: str
    verdict: str
    given: Mapping[str, str]

    def __str__(self) -> str:
        """Name it in a message."""
        given = "".join(f" {key}={value}" for key, value in self.given.items())
        return f"[{self.world}] {self.who}: {self.action} on {self.on}{given} -> {self.verdict}"

    def uses(self) -> set[str]:
        """Return the names of the documents that it is judged by."""
        actor = ACTORS[self.who]
        guard = _guard_of(self.on, self.action)
        return {*actor.identity, *actor.boundary, *([guard] if guard else [])}

    def trial(self, changed: Mapping[str, Any] | None = None) -> Trial:
        """Return it as a question, with some documents in place of the world's."""
        documents = {**documents_of(self.world), **FIXED, **(changed or {})}
        actor = ACTORS[self.who]
        guard = _guard_of(self.on, self.action)
        account = self.on.split(":")[4] if self.on != "*" else ""
        return Trial(
            principal=actor.principal,
            action=self.action,
            resource=self.on,
            account=account or ACCOUNT,  # buckets name none; ours are the account's
            context={"aws:SecureTransport": "true", **self.given},
            identity=tuple(documents[name] for name in actor.identity),
            boundary=tuple(documents[name] for name in actor.boundary),
            resource_policy=documents[guard] if guard else None,
            verdict=self.verdict,
        )


def _guard_of(resource: str, action: str) -> str | None:
    """Return the document that hangs on what is asked for."""
    if resource.partition("/")[0] == BUCKET:
        return "bucket"
    if resource == KEY or resource.startswith("arn:aws:kms:"):
        return "key"
    return _TRUSTS.get(resource) if action.startswith("sts:") else None
