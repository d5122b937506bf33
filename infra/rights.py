"""Who may do what, where: the policies of a stack, read back as rows and as a grid. Pure.

Everything here is read off the documents that AWS gets (infra/policies.py, infra/github_policies.py), so that it cannot
say anything else. The account is not known before there is one: ARNs say `ACCOUNT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from infra.estate import Estate
from infra.github_policies import deployment_access, preview_access
from infra.policies import (
    Document,
    Statement,
    bucket_access,
    deployment_trust,
    job_access,
    job_boundary,
    modal_trust,
    pull_request_trust,
)
from trimtab.catalogue import Catalogue
from trimtab.catalogue.model import GITHUB_HOST, MODAL_HOST

ACCOUNT: Final = "ACCOUNT"
_PREFIX_KEY: Final = "s3:prefix"
# What an action comes to, by how its name begins; the first that fits.
_VERBS: Final = (
    ("kms:Decrypt", "decrypt"),
    ("kms:GenerateDataKey", "encrypt"),
    ("ecr:GetAuthorizationToken", "sign in"),
    ("s3:ListBucket", "list"),
    ("Abort", "delete"),
    ("Delete", "delete"),
    ("Batch", "read"),
    ("Describe", "read"),
    ("Get", "read"),
    ("List", "read"),
    ("View", "read"),
)
VERBS: Final = ("list", "read", "write", "delete", "decrypt", "encrypt", "sign in")
"""In the order in which they are shown; `write` is what no other word fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role: who may assume it, what it may do, and what bounds that."""

    name: str
    trust: Document
    access: Document
    boundary: Document | None

    @property
    def issuer(self) -> str:
        """The host of the identity provider that vouches for who comes."""
        return str(self.trust["Statement"][0]["Principal"]["Federated"]).partition("/")[2]

    @property
    def claims(self) -> dict[str, str]:
        """What a token must say, by claim."""
        tests = self.trust["Statement"][0]["Condition"].values()
        return {key.rpartition(":")[2]: value for test in tests for key, value in test.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One statement on one resource."""

    role: str
    where: str
    actions: tuple[str, ...]
    condition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A row of the grid: something to act on, by an ARN that stands for it."""

    label: str
    arn: str
    prefix: str | None = None


def roles_of(catalogue: Catalogue, stack: str) -> tuple[Role, ...]:
    """Return the roles of a stack: one a job, then GitHub's."""
    estate = Estate(catalogue=catalogue, stack=stack, account=ACCOUNT)
    key, bucket = catalogue.bucket.kms_key, estate.bucket_arn
    boundary = job_boundary(bucket, kms_key=key) if catalogue.github else None
    modal = catalogue.modal.provider_arn or _provider(MODAL_HOST)
    roles = [
        Role(
            name=f"job {name}",
            trust=modal_trust(modal, catalogue.modal),
            access=job_access(bucket, data=job.data, results=job.results, kms_key=key),
            boundary=boundary,
        )
        for name, job in catalogue.jobs.items()
    ]
    if catalogue.github is not None:
        github = catalogue.github.provider_arn or _provider(GITHUB_HOST)
        for name, trust, access in (
            ("GitHub preview", pull_request_trust, preview_access),
            ("GitHub deployment", deployment_trust, deployment_access),
        ):
            roles.append(Role(name=name, trust=trust(github, catalogue.github), access=access(estate), boundary=None))
    return tuple(roles)


def rights_of(catalogue: Catalogue, stack: str) -> tuple[Right, ...]:
    """Return every right of every role, in the order of the policies."""
    return tuple(
        Right(
            role=role.name,
            where=_readable(resource),
            actions=tuple(statement["Action"]),
            condition=condition_text(statement),
        )
        for role in roles_of(catalogue, stack)
        for statement in role.access["Statement"]
        for resource in _listed(statement["Resource"])
    )


def refusals_of(catalogue: Catalogue, stack: str) -> tuple[Statement, ...]:
    """Return what the bucket refuses to everybody, whatever their roles allow."""
    bucket = Estate(catalogue=catalogue, stack=stack, account=ACCOUNT).bucket_arn
    return tuple(bucket_access(bucket, kms_key=catalogue.bucket.kms_key)["Statement"])


def places_of(catalogue: Catalogue, stack: str) -> tuple[Place, ...]:
    """Return the rows of the grid: each prefix, the rest of the bucket, and whatever else a role may act on."""
    estate = Estate(catalogue=catalogue, stack=stack, account=ACCOUNT)
    bucket = estate.bucket_arn
    jobs = [prefix for job in catalogue.jobs.values() for prefix in (job.data, job.results)]
    prefixes = sorted({catalogue.bucket.models, *jobs})
    places = [Place(label=prefix, arn=f"{bucket}/{prefix}x", prefix=prefix) for prefix in prefixes]
    places.append(Place(label="everything else in it", arn=f"{bucket}/else/x", prefix=""))
    places.append(Place(label="its settings", arn=bucket))
    seen = {bucket}
    for role in roles_of(catalogue, stack):
        for statement in role.access["Statement"]:
            for resource in _listed(statement["Resource"]):
                if resource not in seen and resource != "*" and not resource.startswith(f"{bucket}/"):
                    seen.add(resource)
                    places.append(Place(label=_readable(resource), arn=resource.replace("*", "x")))
    return tuple(places)


def verbs_at(role: Role, place: Place) -> tuple[tuple[str, bool], ...]:
    """Return what a role may do at a place, and for each whether only under a condition not shown by the place."""
    shown = {_PREFIX_KEY} if place.prefix is not None else set()
    found: dict[str, bool] = {}
    for statement in role.access["Statement"]:
        for action in statement["Action"]:
            if _speaks_of(statement, action, place):
                conditional = bool({*_tests(statement)} - shown)
                verb = verb_of(action)
                found[verb] = conditional and found.get(verb, True)
    return tuple((verb, found[verb]) for verb in VERBS if verb in found)


def verb_of(action: str) -> str:
    """Return the word for what an action comes to."""
    name = action.partition(":")[2]
    return next((verb for start, verb in _VERBS if action == start or name.startswith(start)), "write")


def condition_text(statement: Statement) -> str:
    """Return a statement's condition in words; empty where it has none."""
    parts = []
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            if operator == "Null":
                parts.append(f"{key} is {'not ' if values == 'true' else ''}given")
            else:
                word = {"Like": "is like", "NotEquals": "is not"}
                how = next((text for end, text in word.items() if operator.endswith(end)), "is")
                parts.append(f"{key} {how} {' or '.join(map(_readable, _listed(values)))}")
    return " and ".join(parts)


def _speaks_of(statement: Statement, action: str, place: Place) -> bool:
    patterns = _listed(statement["Resource"])
    if action == "s3:ListBucket" and place.prefix is not None:
        bucket = place.arn.partition("/")[0]
        wanted = [
            prefix for key, values in _tests(statement).items() if key == _PREFIX_KEY for prefix in _listed(values)
        ]
        fits = not wanted or any(fnmatchcase(place.prefix, prefix) for prefix in wanted)
        return fits and any(fnmatchcase(bucket, pattern) for pattern in patterns)
    if action == "s3:ListBucket" and _PREFIX_KEY in _tests(statement) and place.label == "its settings":
        return False  # it lists prefixes, which have rows of their own
    is_of_service = place.arn.split(":")[2] == action.partition(":")[0]  # "*" is all that the action can be about
    return is_of_service and any(fnmatchcase(place.arn, pattern) for pattern in patterns)


def _tests(statement: Statement) -> dict[str, Any]:
    return {key: values for tests in statement.get("Condition", {}).values() for key, values in tests.items()}


def _readable(arn: str) -> str:
    """Return an ARN as people write it: `s3://BUCKET/PREFIX*`, else what follows the account."""
    if not arn.startswith("arn:"):
        return arn
    _, _, service, _, _, resource = arn.split(":", 5)
    return f"s3://{resource}" if service == "s3" else resource


def _provider(host: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def as_document(catalogue: Catalogue, stack: str) -> Mapping[str, Any]:
    """Return it all as data."""
    rights = rights_of(catalogue, stack)
    return {
        "stack": stack,
        "bucket": catalogue.bucket_name(stack),
        "roles": [
            {
                "role": role.name,
                "assumed_by": {"issuer": role.issuer, **role.claims},
                "is_bounded": role.boundary is not None,
                "rights": [
                    {"where": right.where, "actions": list(right.actions), "condition": right.condition}
                    for right in rights
                    if right.role == role.name
                ],
            }
            for role in roles_of(catalogue, stack)
        ],
        "refused_to_everybody": [
            {"statement": s["Sid"], "actions": _listed(s["Action"]), "condition": condition_text(s)}
            for s in refusals_of(catalogue, stack)
        ],
    }
