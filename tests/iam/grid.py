"""Nothing else: for each place, what each actor may do there, written out; every other action of AWS is refused.

The actions are all that AWS knows for such a place (npm's iam-data), so an action that is added to a policy is noticed,
whichever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.iam.actors import (
    ALLOWED,
    BOUNDARY,
    BUCKET,
    DEPLOYMENT_ROLE,
    GITHUB,
    MODAL,
    PREVIEW_ROLE,
    REFUSED,
    STATE,
    TIDES_ROLE,
    Case,
)
from tests.iam.table import (
    BOUNDED,
    BUDGET,
    DATA,
    OTHER_KEY,
    OTHER_REPOSITORY,
    OTHER_ROLE,
    OTHERS,
    PROD_ROLE,
    REPOSITORY,
    RESULTS,
    THROUGH_S3,
    github_token,
    modal_token,
)
from tests.support.worlds import ACCOUNT, KEY, WORLDS

SERVICES: Final = ("s3", "iam", "ecr", "kms", "budgets", "sts")

_READ_BUCKET: Final = """
    s3:GetAccelerateConfiguration s3:GetBucketAcl s3:GetBucketCORS s3:GetBucketLocation s3:GetBucketLogging
    s3:GetBucketObjectLockConfiguration s3:GetBucketOwnershipControls s3:GetBucketPolicy s3:GetBucketPublicAccessBlock
    s3:GetBucketRequestPayment s3:GetBucketVersioning s3:GetBucketWebsite s3:GetEncryptionConfiguration
    s3:GetLifecycleConfiguration s3:GetReplicationConfiguration s3:ListBucket s3:ListTagsForResource
"""
_READ_ROLE: Final = "iam:GetRole iam:GetRolePolicy iam:ListAttachedRolePolicies iam:ListRolePolicies"
_TEND_ROLE: Final = f"""{_READ_ROLE} iam:DeleteRole iam:ListInstanceProfilesForRole iam:TagRole iam:UntagRole
    iam:UpdateAssumeRolePolicy iam:UpdateRole iam:UpdateRoleDescription"""
_WRITE: Final = "s3:GetObject s3:PutObject s3:AbortMultipartUpload s3:DeleteObject"
_READ_REPOSITORY: Final = "ecr:DescribeRepositories ecr:GetLifecyclePolicy ecr:ListTagsForResource"
_PUSH: Final = f"""{_READ_REPOSITORY} ecr:CreateRepository ecr:PutLifecyclePolicy ecr:TagResource
    ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:CompleteLayerUpload ecr:GetDownloadUrlForLayer
    ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart"""
_ACTORS: Final = ("tides", "winds", "overreach", "preview", "deployment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Something to act on. allowed: by actor, the actions that are meant, in words; every other is refused."""

    on: str
    type: str
    allowed: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    actors: tuple[str, ...] = _ACTORS
    worlds: tuple[str, ...] = WORLDS


_LIST: Final = "s3:ListBucket"
_GRANT: Final = "iam:CreateRole iam:DeleteRolePolicy iam:PutRolePolicy"
_BY_PULLS: Final = {"preview": _READ_BUCKET, "deployment": _READ_BUCKET, "overreach": _LIST}
_ASSUME: Final = "sts:AssumeRoleWithWebIdentity"

PLACES: Final[tuple[Place, ...]] = (
    Place(on=BUCKET, type="bucket", allowed=_BY_PULLS),
    Place(on=BUCKET, type="bucket", given={"s3:prefix": "datasets/tides/"}, allowed={**_BY_PULLS, "tides": _LIST}),
    Place(on=BUCKET, type="bucket", given={"s3:prefix": "results/winds/"}, allowed={**_BY_PULLS, "winds": _LIST}),
    Place(on=DATA, type="object", allowed={"tides": "s3:GetObject", "overreach": _WRITE}),
    Place(on=RESULTS, type="object", allowed={"tides": _WRITE, "overreach": _WRITE}),
    Place(on=f"{BUCKET}/models/file", type="object", allowed={"overreach": _WRITE}),
    Place(on=f"{BUCKET}/datasets/winds/file", type="object", allowed={"winds": "s3:GetObject", "overreach": _WRITE}),
    Place(on=f"{BUCKET}/results/winds/file", type="object", allowed={"winds": _WRITE, "overreach": _WRITE}),
    Place(on=OTHERS, type="bucket", given={"s3:prefix": "datasets/tides/"}),
    Place(on=f"{OTHERS}/datasets/tides/file", type="object"),
    Place(on=STATE, type="bucket"),
    Place(on=STATE, type="bucket", given={"s3:prefix": "pulumi/"}, allowed={"preview": _LIST, "deployment": _LIST}),
    Place(
        on=f"{STATE}/pulumi/file",
        type="object",
        allowed={"preview": "s3:GetObject", "deployment": "s3:GetObject s3:PutObject s3:DeleteObject"},
    ),
    Place(on=f"{STATE}/file", type="object"),
    Place(on=TIDES_ROLE, type="role", allowed={"preview": _READ_ROLE, "deployment": _TEND_ROLE}),
    Place(
        on=TIDES_ROLE,
        type="role",
        given=BOUNDED,
        allowed={"preview": _READ_ROLE, "deployment": f"{_TEND_ROLE} {_GRANT}"},
    ),
    Place(
        on=DEPLOYMENT_ROLE,
        type="role",
        given=BOUNDED,
        allowed={"preview": _READ_ROLE, "deployment": _READ_ROLE},
    ),
    Place(on=PROD_ROLE, type="role", given=BOUNDED),
    Place(on=OTHER_ROLE, type="role", given=BOUNDED),
    Place(
        on=BOUNDARY,
        type="policy",
        allowed={"preview": "iam:GetPolicy iam:GetPolicyVersion", "deployment": "iam:GetPolicy iam:GetPolicyVersion"},
    ),
    Place(on=f"arn:aws:iam::{ACCOUNT}:policy/harbour/dev/other", type="policy"),
    *(
        Place(
            on=provider,
            type="oidc-provider",
            allowed=dict.fromkeys(("preview", "deployment"), "iam:GetOpenIDConnectProvider"),
        )
        for provider in (MODAL, GITHUB)
    ),
    Place(on=f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com", type="oidc-provider"),
    Place(on=f"arn:aws:iam::{ACCOUNT}:user/operator", type="user"),
    Place(on=REPOSITORY, type="repository", allowed={"preview": _READ_REPOSITORY, "deployment": _PUSH}),
    Place(on=OTHER_REPOSITORY, type="repository"),
    Place(
        on=BUDGET,
        type="budget",
        allowed=dict.fromkeys(("preview", "deployment"), "budgets:ListTagsForResource budgets:ViewBudget"),
    ),
    Place(on=KEY, type="key", given=THROUGH_S3, worlds=("s3",)),
    Place(
        on=KEY,
        type="key",
        given=THROUGH_S3,
        worlds=("kms",),
        allowed=dict.fromkeys(("tides", "winds", "overreach"), "kms:Decrypt kms:GenerateDataKey"),
    ),
    Place(on=OTHER_KEY, type="key", given=THROUGH_S3),
    Place(
        on="*",
        type="",
        # Who somebody is, everybody may ask: AWS judges that by no policy.
        allowed={
            **dict.fromkeys(_ACTORS, "sts:GetCallerIdentity"),
            "deployment": "sts:GetCallerIdentity ecr:GetAuthorizationToken",
        },
    ),
    Place(on=TIDES_ROLE, type="role", given=modal_token(), actors=("Modal",), allowed={"Modal": _ASSUME}),
    *(
        Place(on=role, type="role", given=github_token(f"{ours}:{where}"), actors=("GitHub",), worlds=(world,))
        for world, ours in (("s3", "repo:harbour@4711/charts@815"), ("kms", "repo:harbour/charts"))
        for role, where in ((PREVIEW_ROLE, "push"), (DEPLOYMENT_ROLE, "push"))
    ),
    *(
        Place(
            on=role,
            type="role",
            given=github_token(subject),
            actors=("GitHub",),
            worlds=(world,),
            allowed={"GitHub": _ASSUME},
        )
        for world, role, subject in (
            ("s3", PREVIEW_ROLE, "repo:harbour@4711/charts@815:pull_request"),
            ("s3", DEPLOYMENT_ROLE, "repo:harbour@4711/charts@815:ref:refs/heads/main"),
            ("kms", PREVIEW_ROLE, "repo:harbour/charts:pull_request"),
            ("kms", DEPLOYMENT_ROLE, "repo:harbour/charts:environment:production"),
        )
    ),
)


def grid(universe: Mapping[str, list[str]]) -> Iterator[Case]:
    """Yield every action of every place for each actor, in each world."""
    for place in PLACES:
        actions = [a for a, types in universe.items() if (place.type in types if place.type else not types)]
        for who in place.actors:
            meant = {*place.allowed.get(who, "").split()}
            assert meant <= {*actions}, f"AWS does not know {meant - {*actions}} on {place.on}"
            for world in place.worlds:
                for action in actions:
                    if who in ("Modal", "GitHub") and not action.startswith("sts:"):
                        continue  # an identity provider asks for nothing but a role
                    verdict = ALLOWED if action in meant else REFUSED
                    yield Case(world=world, who=who, action=action, on=place.on, verdict=verdict, given=place.given)
