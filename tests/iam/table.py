"""The table: who may do what, where, under which condition, written out by hand. Nothing here is read off the policies.

A line is (actor, action, resource, verdict, what the request carries). Lines of `BOTH` hold in both worlds, `S3` where
S3's own keys encrypt and one branch deploys, `KMS` where a key does and one environment deploys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.iam.actors import (
    ALLOWED,
    BOUNDARY,
    BUCKET,
    DENIED,
    DEPLOYMENT_ROLE,
    GITHUB,
    MODAL,
    PREVIEW_ROLE,
    REFUSED,
    ROLES,
    STATE,
    TIDES_ROLE,
    Case,
)
from tests.support.worlds import ACCOUNT, KEY

Line = tuple[str, str, str, str, Mapping[str, str]]

DATA, RESULTS = f"{BUCKET}/datasets/tides/file", f"{BUCKET}/results/tides/file"
OTHERS = "arn:aws:s3:::harbour-others"
OTHER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/captain"
PROD_ROLE = f"arn:aws:iam::{ACCOUNT}:role/harbour/prod/jobs/modal-tides-1a2b3c4"
REPOSITORY = f"arn:aws:ecr:eu-north-1:{ACCOUNT}:repository/harbour/dev/gulls"
OTHER_REPOSITORY = f"arn:aws:ecr:eu-north-1:{ACCOUNT}:repository/harbour/prod/gulls"
BUDGET = f"arn:aws:budgets::{ACCOUNT}:budget/harbour-dev"
OTHER_KEY = f"arn:aws:kms:eu-north-1:{ACCOUNT}:key/76543210-89ab-cdef-0123-456789abcdef"

_SSE, _SSE_KEY = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
_SSE_C = "s3:x-amz-server-side-encryption-customer-algorithm"
_PLAIN = {"aws:SecureTransport": "false"}
_CONTEXT = "kms:EncryptionContext:aws:s3:arn"
THROUGH_S3: Final = {"kms:ViaService": "s3.eu-north-1.amazonaws.com", _CONTEXT: BUCKET}
BOUNDED: Final = {"iam:PermissionsBoundary": BOUNDARY}


def _prefix(prefix: str) -> dict[str, str]:
    return {"s3:prefix": prefix}


def modal_token(**changes: str | None) -> dict[str, str]:
    """Return what AWS reads of a Modal container's token; None takes a claim out."""
    named = {"workspace": "ac-harbour01", "environment": "main", "app": "harbour", "function": "train"}
    named |= {key: value for key, value in changes.items() if value is not None}
    subject = (
        f"modal:workspace_id:{named['workspace']}:environment_name:{named['environment']}:app_name:{named['app']}"
        f":function_name:{named['function']}:container_id:ta-01"
    )
    claims = {"aud": changes.get("aud", "oidc.modal.com"), "sub": changes.get("sub", subject)}
    return {f"oidc.modal.com:{name}": value for name, value in claims.items() if value is not None}


def github_token(sub: str | None, aud: str | None = "sts.amazonaws.com") -> dict[str, str]:
    """Return what AWS reads of a workflow's token; None takes a claim out."""
    host = GITHUB.partition("/")[2]
    return {f"{host}:{name}": value for name, value in (("aud", aud), ("sub", sub)) if value is not None}


def _each(
    who: str,
    actions: str,
    on: str,
    verdict: str,
    given: Mapping[str, Any] = {},
) -> list[Line]:
    service, _, names = actions.partition(":")
    return [(who, f"{service}:{name}", on, verdict, given) for name in names.split()]


def _assume(who: str, role: str, verdict: str, *tokens: Mapping[str, str]) -> list[Line]:
    return [(who, "sts:AssumeRoleWithWebIdentity", role, verdict, token) for token in tokens]


JOBS: Final[list[Line]] = [
    # What a job reads and writes.
    *_each("tides", "s3:GetObject", DATA, ALLOWED),
    *_each("tides", "s3:GetObject", f"{BUCKET}/datasets/tides/deep/down/file", ALLOWED),
    *_each("tides", "s3:GetObject PutObject DeleteObject AbortMultipartUpload", RESULTS, ALLOWED),
    # Its data is for reading.
    *_each("tides", "s3:PutObject DeleteObject AbortMultipartUpload", DATA, REFUSED),
    # Not another job's, not a namesake's, not what lies above, not the models.
    *_each("tides", "s3:GetObject", f"{BUCKET}/datasets/winds/file", REFUSED),
    *_each("tides", "s3:GetObject", f"{BUCKET}/datasets/tides-too/file", REFUSED),
    *_each("tides", "s3:GetObject", f"{BUCKET}/datasets/file", REFUSED),
    *_each("tides", "s3:GetObject", f"{BUCKET}/models/file", REFUSED),
    *_each("tides", "s3:GetObject PutObject", f"{BUCKET}/file", REFUSED),
    *_each("tides", "s3:GetObject PutObject DeleteObject", f"{BUCKET}/results/winds/file", REFUSED),
    *_each("tides", "s3:PutObject DeleteObject", f"{BUCKET}/results/tides-too/file", REFUSED),
    *_each("tides", "s3:PutObject", f"{BUCKET}/results/file", REFUSED),
    *_each("tides", "s3:GetObject PutObject", f"{OTHERS}/datasets/tides/file", REFUSED),
    # What is overwritten or deleted stays as an old version, and no job can reach those.
    *_each("tides", "s3:GetObjectVersion DeleteObjectVersion", RESULTS, REFUSED),
    *_each("tides", "s3:PutObjectAcl PutObjectTagging PutObjectRetention RestoreObject", RESULTS, REFUSED),
    # It lists its own prefixes.
    *_each("tides", "s3:ListBucket", BUCKET, ALLOWED, _prefix("datasets/tides/")),
    *_each("tides", "s3:ListBucket", BUCKET, ALLOWED, _prefix("datasets/tides/deep/")),
    *_each("tides", "s3:ListBucket", BUCKET, ALLOWED, _prefix("results/tides/")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("datasets/")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("datasets/tides")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("datasets/tides-too/")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("datasets/winds/")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("results/")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("results/tides-too/")),
    *_each("tides", "s3:ListBucket", BUCKET, REFUSED, _prefix("models/")),
    *_each("tides", "s3:ListBucketVersions", BUCKET, REFUSED, _prefix("datasets/tides/")),
    *_each("tides", "s3:ListBucket", OTHERS, REFUSED, _prefix("datasets/tides/")),
    *_each("tides", "s3:ListBucket", f"{BUCKET}-too", REFUSED, _prefix("datasets/tides/")),
    # The bucket itself and the account are nothing to it.
    *_each("tides", "s3:GetBucketPolicy PutBucketPolicy PutLifecycleConfiguration DeleteBucket", BUCKET, REFUSED),
    *_each("tides", "iam:PutRolePolicy UpdateAssumeRolePolicy GetRole", TIDES_ROLE, REFUSED),
    *_each("tides", "iam:CreateRole", TIDES_ROLE, REFUSED, BOUNDED),
    *_each("tides", "sts:AssumeRole", OTHER_ROLE, REFUSED),
    # The boundary holds whatever a role's own policy says.
    *_each("overreach", "s3:GetObject PutObject DeleteObject AbortMultipartUpload", f"{BUCKET}/file", ALLOWED),
    *_each("overreach", "s3:ListBucket", BUCKET, ALLOWED),
    *_each("overreach", "s3:GetObjectVersion DeleteObjectVersion PutObjectAcl", f"{BUCKET}/file", REFUSED),
    *_each("overreach", "s3:PutBucketPolicy PutLifecycleConfiguration ListBucketVersions", BUCKET, REFUSED),
    *_each("overreach", "s3:GetObject", f"{OTHERS}/file", REFUSED),
    *_each("overreach", "s3:ListBucket", OTHERS, REFUSED),
    *_each("overreach", "s3:GetObject", f"{BUCKET}-too/file", REFUSED),
    *_each("overreach", "s3:ListBucket", f"{BUCKET}-too", REFUSED),
    *_each("overreach", "iam:CreateRole PutRolePolicy DeleteRolePermissionsBoundary", TIDES_ROLE, REFUSED, BOUNDED),
    *_each("overreach", "kms:Decrypt", KEY, REFUSED),
]

MODAL_TRUST: Final[list[Line]] = [
    *_assume("Modal", TIDES_ROLE, ALLOWED, modal_token(), modal_token(function="a.b"), modal_token(function="x:y")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(workspace="ac-harbour02")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(workspace="ac-harbour01x")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(environment="dev"), modal_token(environment="main2")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(app="another"), modal_token(app="harbou")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(app="harbour2"), modal_token(app="harbour-copy")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(app="HARBOUR")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(workspace="ac-evil", function="app_name:harbour:x")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(aud=None), modal_token(aud="")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(aud="sts.amazonaws.com"), modal_token(aud="oidc.modal.com.x")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(aud="OIDC.MODAL.COM")),
    *_assume("Modal", TIDES_ROLE, REFUSED, modal_token(sub=None), modal_token(sub="")),
    # Another issuer, even one that vouches for the very same; and GitHub, whose roles are others.
    *_assume("another issuer", TIDES_ROLE, REFUSED, modal_token()),
    *_assume("GitHub", TIDES_ROLE, REFUSED, modal_token()),
    *_each("Modal", "sts:AssumeRole TagSession SetSourceIdentity", TIDES_ROLE, REFUSED, modal_token()),
    # Somebody with every right in the account cannot come in but as Modal.
    *_each("operator", "sts:AssumeRole AssumeRoleWithWebIdentity", TIDES_ROLE, REFUSED, modal_token()),
]

BUCKET_POLICY: Final[list[Line]] = [
    # Nobody comes without TLS, whatever else they may.
    *_each("tides", "s3:GetObject", DATA, DENIED, _PLAIN),
    *_each("tides", "s3:PutObject", RESULTS, DENIED, _PLAIN),
    *_each("tides", "s3:ListBucket", BUCKET, DENIED, {**_PLAIN, **_prefix("datasets/tides/")}),
    *_each("operator", "s3:GetObject PutObject DeleteObjectVersion", f"{BUCKET}/file", DENIED, _PLAIN),
    *_each("operator", "s3:ListBucket PutBucketPolicy DeleteBucket", BUCKET, DENIED, _PLAIN),
    *_each("stranger", "s3:GetObject PutObject", f"{BUCKET}/file", DENIED, _PLAIN),
    *_each("stranger", "s3:ListBucket", BUCKET, DENIED, _PLAIN),
    # With TLS those who may do, and those who may not do not.
    *_each("operator", "s3:GetObject PutObject DeleteObjectVersion", f"{BUCKET}/file", ALLOWED),
    *_each("operator", "s3:ListBucket PutBucketPolicy DeleteBucket", BUCKET, ALLOWED),
    *_each("stranger", "s3:GetObject PutObject", f"{BUCKET}/file", REFUSED),
    *_each("stranger", "s3:ListBucket", BUCKET, REFUSED),
    # A key of the customer's own encrypts nothing here.
    *_each("tides", "s3:PutObject", RESULTS, DENIED, {_SSE_C: "AES256"}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE_C: "AES256"}),
    *_each("stranger", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE_C: "AES256"}),
    # Nor does any way but the bucket's; two layers of KMS are another way too.
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms:dsse"}),
    *_each("stranger", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms:dsse"}),
]

S3_ENCRYPTION: Final[list[Line]] = [
    *_each("tides", "s3:PutObject", RESULTS, ALLOWED, {_SSE: "AES256"}),
    *_each("tides", "s3:PutObject", RESULTS, DENIED, {_SSE: "aws:kms"}),
    *_each("tides", "s3:PutObject", RESULTS, DENIED, {_SSE: "aws:kms", _SSE_KEY: KEY}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", ALLOWED, {_SSE: "AES256"}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms"}),
    *_each("tides", "kms:Decrypt GenerateDataKey", KEY, REFUSED, THROUGH_S3),
    *_each("overreach", "kms:Decrypt GenerateDataKey", KEY, REFUSED, THROUGH_S3),
]

KMS_ENCRYPTION: Final[list[Line]] = [
    *_each("tides", "s3:PutObject", RESULTS, ALLOWED, {_SSE: "aws:kms", _SSE_KEY: KEY}),
    *_each("tides", "s3:PutObject", RESULTS, DENIED, {_SSE: "AES256"}),
    *_each("tides", "s3:PutObject", RESULTS, DENIED, {_SSE: "aws:kms", _SSE_KEY: OTHER_KEY}),
    *_each("tides", "s3:PutObject", RESULTS, DENIED, {_SSE: "aws:kms"}),  # would be the account's aws/s3 key
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", ALLOWED, {_SSE: "aws:kms", _SSE_KEY: KEY}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "AES256"}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms", _SSE_KEY: OTHER_KEY}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms"}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms:dsse", _SSE_KEY: KEY}),
    *_each("operator", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "AES256", _SSE_KEY: KEY}),
    *_each("stranger", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms", _SSE_KEY: OTHER_KEY}),
    *_each("stranger", "s3:PutObject", f"{BUCKET}/file", DENIED, {_SSE: "aws:kms:dsse", _SSE_KEY: KEY}),
    # The key serves through S3 and for this bucket, for objects of before bucket keys too.
    *_each("tides", "kms:Decrypt GenerateDataKey", KEY, ALLOWED, THROUGH_S3),
    *_each("tides", "kms:Decrypt GenerateDataKey", KEY, ALLOWED, {**THROUGH_S3, _CONTEXT: DATA}),
    *_each("overreach", "kms:Decrypt GenerateDataKey", KEY, ALLOWED, THROUGH_S3),
    *_each("overreach", "kms:Decrypt GenerateDataKey", KEY, ALLOWED, {**THROUGH_S3, _CONTEXT: DATA}),
    *(
        line
        for who in ("tides", "overreach")
        for given in (
            {},
            {_CONTEXT: BUCKET},
            {"kms:ViaService": "s3.eu-north-1.amazonaws.com"},
            {**THROUGH_S3, "kms:ViaService": "s3.us-east-1.amazonaws.com"},
            {**THROUGH_S3, "kms:ViaService": "sqs.eu-north-1.amazonaws.com"},
            {**THROUGH_S3, "kms:ViaService": "S3.eu-north-1.amazonaws.com"},
            {**THROUGH_S3, "kms:ViaService": "s3.eu-north-1.amazonaws.com.cn"},
            {**THROUGH_S3, _CONTEXT: OTHERS},
            {**THROUGH_S3, _CONTEXT: f"{BUCKET}-too"},
            {**THROUGH_S3, _CONTEXT: f"{OTHERS}/file"},
        )
        for line in _each(who, "kms:Decrypt", KEY, REFUSED, given)
    ),
    *_each("tides", "kms:Encrypt CreateGrant ScheduleKeyDeletion PutKeyPolicy", KEY, REFUSED, THROUGH_S3),
    *(
        line
        for who in ("tides", "overreach")
        for key in (OTHER_KEY, KEY.replace("eu-north-1", "us-east-1"), f"{KEY}0")
        for line in _each(who, "kms:Decrypt GenerateDataKey", key, REFUSED, THROUGH_S3)
    ),
]

# What pull requests and deployments see alike.
LOOKING: Final[list[Line]] = [
    line
    for who in ("preview", "deployment")
    for line in (
        *_each(who, "s3:GetBucketPolicy GetLifecycleConfiguration GetBucketVersioning ListBucket", BUCKET, ALLOWED),
        *_each(who, "iam:GetRole GetRolePolicy", TIDES_ROLE, ALLOWED),
        *_each(who, "iam:GetRole GetRolePolicy", DEPLOYMENT_ROLE, ALLOWED),
        *_each(who, "iam:GetPolicy GetPolicyVersion", BOUNDARY, ALLOWED),
        *_each(who, "iam:GetOpenIDConnectProvider", MODAL, ALLOWED),
        *_each(who, "iam:GetOpenIDConnectProvider", GITHUB, ALLOWED),
        *_each(who, "ecr:DescribeRepositories GetLifecyclePolicy", REPOSITORY, ALLOWED),
        *_each(who, "budgets:ViewBudget", BUDGET, ALLOWED),
        *_each(who, "s3:GetObject", f"{STATE}/pulumi/.pulumi/stacks/trimtab/dev.json", ALLOWED),
        *_each(who, "s3:ListBucket", STATE, ALLOWED, _prefix("pulumi/.pulumi/stacks/")),
        # Not what is not the stack's: another's, a namesake's, another region's.
        *_each(who, "s3:GetBucketPolicy ListBucket", OTHERS, REFUSED),
        *_each(who, "s3:GetBucketPolicy ListBucket", f"{BUCKET}-too", REFUSED),
        *_each(who, "iam:GetRole", OTHER_ROLE, REFUSED),
        *_each(who, "iam:GetRole", PROD_ROLE, REFUSED),
        *_each(who, "iam:GetRole", f"{ROLES}/other/role", REFUSED),
        *_each(who, "iam:GetRole", f"{ROLES}/jobs-too/role", REFUSED),
        *_each(who, "iam:GetRole", f"{ROLES}/github-too/role", REFUSED),
        *_each(who, "iam:GetPolicy", f"arn:aws:iam::{ACCOUNT}:policy/harbour/dev/other", REFUSED),
        *_each(who, "iam:GetPolicy", f"{BOUNDARY}-too", REFUSED),
        *_each(who, "iam:GetOpenIDConnectProvider", f"{MODAL}.example", REFUSED),
        *_each(who, "iam:GetOpenIDConnectProvider", f"{GITHUB}.example", REFUSED),
        *_each(who, "ecr:DescribeRepositories", OTHER_REPOSITORY, REFUSED),
        *_each(who, "ecr:DescribeRepositories", REPOSITORY.replace("/dev/", "/dev-too/"), REFUSED),
        *_each(who, "ecr:DescribeRepositories", REPOSITORY.replace("eu-north-1", "us-east-1"), REFUSED),
        *_each(who, "budgets:ViewBudget", BUDGET.replace("-dev", "-prod"), REFUSED),
        *_each(who, "budgets:ViewBudget", f"{BUDGET}-too", REFUSED),
        *_each(who, "s3:GetObject", f"{STATE}/pulumi-too/file", REFUSED),
        *_each(who, "s3:GetObject", f"{STATE}/file", REFUSED),
        *_each(who, "s3:GetObject", f"{STATE}-too/pulumi/file", REFUSED),
        *_each(who, "s3:ListBucket", STATE, REFUSED),
        *_each(who, "s3:ListBucket", STATE, REFUSED, _prefix("pulumi")),
        *_each(who, "s3:ListBucket", STATE, REFUSED, _prefix("pulumi-too/")),
        *_each(who, "s3:ListBucket", STATE, REFUSED, _prefix("other/")),
        *_each(who, "s3:ListBucket", f"{STATE}-too", REFUSED, _prefix("pulumi/")),
        *_each(who, "s3:ListBucket", OTHERS, REFUSED, _prefix("pulumi/")),
        *_each(who, "s3:ListBucketVersions", STATE, REFUSED, _prefix("pulumi/")),
        # No object of the data bucket, and none of its settings changed.
        *_each(who, "s3:GetObject GetObjectVersion PutObject DeleteObject DeleteObjectVersion", DATA, REFUSED),
        *_each(who, "s3:PutBucketPolicy PutBucketPublicAccessBlock PutEncryptionConfiguration", BUCKET, REFUSED),
        *_each(who, "s3:PutLifecycleConfiguration PutBucketVersioning DeleteBucket", BUCKET, REFUSED),
        # No guard rail.
        *_each(who, "iam:CreatePolicyVersion SetDefaultPolicyVersion DeletePolicy", BOUNDARY, REFUSED),
        *_each(who, "iam:AddClientIDToOpenIDConnectProvider DeleteOpenIDConnectProvider", MODAL, REFUSED),
        *_each(who, "iam:UpdateOpenIDConnectProviderThumbprint DeleteOpenIDConnectProvider", GITHUB, REFUSED),
        *_each(who, "iam:CreateRole PutRolePolicy", DEPLOYMENT_ROLE, REFUSED, BOUNDED),
        *_each(who, "iam:UpdateAssumeRolePolicy DeleteRole UpdateRole", DEPLOYMENT_ROLE, REFUSED),
        *_each(who, "iam:UpdateAssumeRolePolicy DeleteRole", PREVIEW_ROLE, REFUSED),
        *_each(who, "iam:PassRole AttachRolePolicy", TIDES_ROLE, REFUSED),
        *_each(who, "iam:CreateUser CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/operator", REFUSED),
        *_each(who, "budgets:ModifyBudget", BUDGET, REFUSED),
        *_each(who, "sts:AssumeRole", OTHER_ROLE, REFUSED),
        *_each(who, "kms:Decrypt", KEY, REFUSED, THROUGH_S3),
    )
]

PREVIEW: Final[list[Line]] = [
    # Pull requests change nothing at all.
    *_each("preview", "s3:PutBucketTagging PutBucketLogging", BUCKET, REFUSED),
    *_each("preview", "iam:CreateRole PutRolePolicy DeleteRolePolicy", TIDES_ROLE, REFUSED, BOUNDED),
    *_each("preview", "iam:UpdateAssumeRolePolicy DeleteRole TagRole", TIDES_ROLE, REFUSED),
    *_each("preview", "ecr:PutImage CreateRepository BatchGetImage", REPOSITORY, REFUSED),
    *_each("preview", "ecr:GetAuthorizationToken", "*", REFUSED),
    *_each("preview", "s3:PutObject DeleteObject", f"{STATE}/pulumi/.pulumi/stacks/trimtab/dev.json", REFUSED),
]

DEPLOYMENT: Final[list[Line]] = [
    # Deployments make and change the roles of jobs, within the boundary.
    *_each("deployment", "iam:CreateRole PutRolePolicy DeleteRolePolicy", TIDES_ROLE, ALLOWED, BOUNDED),
    *_each("deployment", "iam:UpdateAssumeRolePolicy UpdateRole DeleteRole TagRole UntagRole", TIDES_ROLE, ALLOWED),
    *_each("deployment", "iam:CreateRole PutRolePolicy DeleteRolePolicy", TIDES_ROLE, REFUSED),
    *(
        line
        for boundary in (f"{BOUNDARY}-too", f"arn:aws:iam::{ACCOUNT}:policy/own", BOUNDARY.upper())
        for line in _each(
            "deployment", "iam:CreateRole PutRolePolicy", TIDES_ROLE, REFUSED, {"iam:PermissionsBoundary": boundary}
        )
    ),
    # No other role, and no way around the boundary.
    *_each("deployment", "iam:CreateRole PutRolePolicy", OTHER_ROLE, REFUSED, BOUNDED),
    *_each("deployment", "iam:CreateRole PutRolePolicy", PROD_ROLE, REFUSED, BOUNDED),
    *_each("deployment", "iam:CreateRole PutRolePolicy", f"{ROLES}/jobs-too/role", REFUSED, BOUNDED),
    *_each("deployment", "iam:DeleteRole", f"{ROLES}/jobs-too/role", REFUSED),
    *_each("deployment", "iam:DeleteRole", PROD_ROLE, REFUSED),
    *_each("deployment", "iam:AttachRolePolicy PutRolePermissionsBoundary", TIDES_ROLE, REFUSED, BOUNDED),
    *_each("deployment", "iam:DeleteRolePermissionsBoundary", TIDES_ROLE, REFUSED, BOUNDED),
    # Images go up and stay.
    *_each("deployment", "ecr:CreateRepository PutLifecyclePolicy TagResource PutImage", REPOSITORY, ALLOWED),
    *_each("deployment", "ecr:InitiateLayerUpload UploadLayerPart CompleteLayerUpload", REPOSITORY, ALLOWED),
    *_each("deployment", "ecr:GetAuthorizationToken", "*", ALLOWED),
    *_each("deployment", "ecr:DeleteRepository BatchDeleteImage SetRepositoryPolicy", REPOSITORY, REFUSED),
    *_each("deployment", "ecr:PutImageTagMutability DeleteLifecyclePolicy", REPOSITORY, REFUSED),
    *_each("deployment", "ecr:PutImage CreateRepository", OTHER_REPOSITORY, REFUSED),
    *_each("deployment", "ecr:PutImage CreateRepository", REPOSITORY.replace("/dev/", "/dev-too/"), REFUSED),
    *_each("deployment", "ecr:PutImage CreateRepository", REPOSITORY.replace("eu-north-1", "us-east-1"), REFUSED),
    # The state is written, under its prefix; what it was before stays.
    *_each("deployment", "s3:GetObject PutObject DeleteObject", f"{STATE}/pulumi/.pulumi/locks/x.json", ALLOWED),
    *_each("deployment", "s3:PutObject DeleteObject", f"{STATE}/other/file", REFUSED),
    *_each("deployment", "s3:PutObject", f"{STATE}/pulumi-too/file", REFUSED),
    *_each("deployment", "s3:DeleteObjectVersion", f"{STATE}/pulumi/.pulumi/stacks/trimtab/dev.json", REFUSED),
]

_OURS = "repo:harbour@4711/charts@815"  # a repository whose tokens carry numbers
BRANCH_TRUST: Final[list[Line]] = [
    *_assume("GitHub", PREVIEW_ROLE, ALLOWED, github_token(f"{_OURS}:pull_request")),
    *_assume("GitHub", DEPLOYMENT_ROLE, ALLOWED, github_token(f"{_OURS}:ref:refs/heads/main")),
    # Whoever takes over the name has other numbers, and older tokens had none.
    *_assume("GitHub", DEPLOYMENT_ROLE, REFUSED, github_token("repo:harbour/charts:ref:refs/heads/main")),
    *_assume("GitHub", DEPLOYMENT_ROLE, REFUSED, github_token("repo:harbour@4712/charts@815:ref:refs/heads/main")),
    *_assume("GitHub", DEPLOYMENT_ROLE, REFUSED, github_token("repo:harbour@4711/charts@8150:ref:refs/heads/main")),
    *_assume("GitHub", PREVIEW_ROLE, REFUSED, github_token("repo:harbour/charts:pull_request")),
    # Another branch, a tag, an environment, a pull request: of our repository, and still not the branch.
    *_assume(
        "GitHub",
        DEPLOYMENT_ROLE,
        REFUSED,
        *(
            github_token(f"{_OURS}:{where}")
            for where in (
                "ref:refs/heads/other",
                "ref:refs/heads/main2",
                "ref:refs/heads/main/x",
                "ref:refs/heads/Main",
                "ref:refs/tags/main",
                "ref:refs/tags/v1",
                "environment:main",
                "environment:production",
                "pull_request",
            )
        ),
    ),
    *_assume(
        "GitHub",
        PREVIEW_ROLE,
        REFUSED,
        *(
            github_token(f"{_OURS}:{where}")
            for where in ("ref:refs/heads/main", "ref:refs/tags/v1", "environment:production", "pull_request_target")
        ),
    ),
]

ENVIRONMENT_TRUST: Final[list[Line]] = [
    *_assume("GitHub", PREVIEW_ROLE, ALLOWED, github_token("repo:harbour/charts:pull_request")),
    *_assume("GitHub", DEPLOYMENT_ROLE, ALLOWED, github_token("repo:harbour/charts:environment:production")),
    *_assume(
        "GitHub",
        DEPLOYMENT_ROLE,
        REFUSED,
        *(
            github_token(f"repo:harbour/charts:{where}")
            for where in (
                "environment:production2",
                "environment:staging",
                "environment:Production",
                "ref:refs/heads/production",
                "ref:refs/heads/main",
                "ref:refs/tags/production",
                "pull_request",
            )
        ),
    ),
    *_assume("GitHub", DEPLOYMENT_ROLE, REFUSED, github_token("repo:harbour@4711/charts@815:environment:production")),
]


def _strangers(role: str, where: str, ours: str) -> list[Line]:
    """Return the tokens of everybody else for the same place, and ours with a claim missing or wrong."""
    owner, _, name = ours.partition("/")
    others = (
        f"repo:stranger/{name}:{where}",  # a fork, whose workflows and pull requests run under its own name
        f"{owner}2/{name}:{where}",
        f"{owner}/{name}2:{where}",
        f"{owner}/other:{where}",
        f"{ours.upper()}:{where}",
        f"x{ours}:{where}",
        f"{ours}:{where}:x",
        f"{ours}:",
        "",
    )
    right = f"{ours}:{where}"
    return [
        *_assume("GitHub", role, REFUSED, *(github_token(sub) for sub in others)),
        *_assume("GitHub", role, REFUSED, github_token(None)),
        *_assume("GitHub", role, REFUSED, github_token(right, aud=None), github_token(right, aud="")),
        *_assume("GitHub", role, REFUSED, github_token(right, aud="oidc.modal.com")),
        *_assume("GitHub", role, REFUSED, github_token(right, aud="STS.amazonaws.com")),
        *_assume("GitHub", role, REFUSED, github_token(right, aud="sts.amazonaws.com.x")),
        *_assume("another issuer", role, REFUSED, github_token(right)),
        *_assume("Modal", role, REFUSED, github_token(right)),
        *_each("GitHub", "sts:AssumeRole TagSession SetSourceIdentity", role, REFUSED, github_token(right)),
        *_each("operator", "sts:AssumeRole AssumeRoleWithWebIdentity", role, REFUSED, github_token(right)),
    ]


BRANCH_TRUST += _strangers(PREVIEW_ROLE, "pull_request", _OURS)
BRANCH_TRUST += _strangers(DEPLOYMENT_ROLE, "ref:refs/heads/main", _OURS)
ENVIRONMENT_TRUST += _strangers(PREVIEW_ROLE, "pull_request", "repo:harbour/charts")
ENVIRONMENT_TRUST += _strangers(DEPLOYMENT_ROLE, "environment:production", "repo:harbour/charts")

BOTH: Final = JOBS + MODAL_TRUST + BUCKET_POLICY + LOOKING + PREVIEW + DEPLOYMENT


def _of_the_other_job(lines: list[Line]) -> list[Line]:
    """Return the lines of tides as they hold for winds: each is to the other what the other is to it."""
    return [
        ("winds", action, _swapped(on), verdict, {key: _swapped(value) for key, value in given.items()})
        for who, action, on, verdict, given in lines
        if who == "tides"
    ]


def _swapped(text: str) -> str:
    return text.replace("/tides", "/T").replace("/winds", "/tides").replace("/T", "/winds")


def _of_bounded(lines: list[Line]) -> list[Line]:
    """Return the lines of tides for the same role within its boundary: none of them changes."""
    return [("bounded tides", *rest) for who, *rest in lines if who == "tides"]


TABLE: Final[tuple[Case, ...]] = tuple(
    Case(world=world, who=who, action=action, on=on, verdict=verdict, given=given)
    for world, lines in (
        ("s3", BOTH + S3_ENCRYPTION + BRANCH_TRUST),
        ("kms", BOTH + KMS_ENCRYPTION + ENVIRONMENT_TRUST),
    )
    for who, action, on, verdict, given in (*lines, *_of_the_other_job(lines), *_of_bounded(lines))
)
