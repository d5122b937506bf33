"""Policy documents: pure functions from names to what IAM and S3 read. The whole of who may do what stands here.

What the roles of GitHub's workflows may do stands in infra/github_policies.py. tests/iam/ holds every document against
AWS's own logic. Sources: https://modal.com/docs/guide/oidc-integration and cloud-bucket-mounts for what Modal's tokens
say and its bucket mount calls; https://docs.github.com/en/actions/reference/security/oidc for GitHub's tokens;
https://docs.aws.amazon.com/service-authorization/latest/reference/ for actions, resources and condition keys.
"""

from __future__ import annotations

from typing import Any, Final

from trimtab.catalogue.cloud import Github, Modal
from trimtab.catalogue.model import GITHUB_HOST
from trimtab.emulation.web_identity import ASSUME_ACTION, MODAL_AUDIENCE, MODAL_ISSUER

Document = dict[str, Any]
Statement = dict[str, Any]

GITHUB_ISSUER: Final = f"https://{GITHUB_HOST}"
GITHUB_AUDIENCE: Final = "sts.amazonaws.com"
READ_ACTIONS: Final = ("s3:GetObject",)
WRITE_ACTIONS: Final = ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject")
KEY_ACTIONS: Final = ("kms:Decrypt", "kms:GenerateDataKey")
OWN_PREFIXES: Final = "ListOwnPrefixes"
_ENCRYPTION: Final = "s3:x-amz-server-side-encryption"


def modal_trust(provider_arn: str, modal: Modal) -> Document:
    """Return who may assume a job's role: containers of one Modal app, in one environment of one workspace.

    AWS matches only `aud` and `sub` of Modal's token. The colon after the app's name keeps out an app whose name
    begins with ours; what follows it (function and container) changes with every start.
    """
    issuer = MODAL_ISSUER.removeprefix("https://")
    subject = f"modal:workspace_id:{modal.workspace}:environment_name:{modal.environment}:app_name:{modal.app}:*"
    condition = {"StringEquals": {f"{issuer}:aud": MODAL_AUDIENCE}, "StringLike": {f"{issuer}:sub": subject}}
    return document(_trust("OurModalApp", provider_arn, condition))


def pull_request_trust(provider_arn: str, github: Github) -> Document:
    """Return who may look: workflows of pull requests in our repository.

    A fork's pull request gets no token at all, unless the repository's settings send it one; the subject would be the
    same as ours, so that setting must stay off.
    """
    return document(_github_trust("OurPullRequests", provider_arn, github, "pull_request"))


def deployment_trust(provider_arn: str, github: Github) -> Document:
    """Return who may deploy: workflows on one branch, or in one environment, of our repository."""
    where = f"environment:{github.environment}" if github.environment else f"ref:refs/heads/{github.branch}"
    return document(_github_trust("OurDeployments", provider_arn, github, where))


def _github_trust(sid: str, provider_arn: str, github: Github, where: str) -> Statement:
    repository = github.repository
    if github.owner_id is not None:
        owner, _, name = repository.partition("/")
        repository = f"{owner}@{github.owner_id}/{name}@{github.repository_id}"
    claims = {f"{GITHUB_HOST}:aud": GITHUB_AUDIENCE, f"{GITHUB_HOST}:sub": f"repo:{repository}:{where}"}
    return _trust(sid, provider_arn, {"StringEquals": claims})


def _trust(sid: str, provider_arn: str, condition: dict[str, Any]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn},
        "Action": ASSUME_ACTION,
        "Condition": condition,
    }


def job_access(bucket_arn: str, *, data: str, results: str, kms_key: str | None = None) -> Document:
    """Return what a job may do: list and read its data, list, read and write its results, and nothing else.

    `data` and `results` are key prefixes that end in `/`. `kms_key` is the ARN of the key that encrypts the bucket.
    """
    return document(
        allow(
            OWN_PREFIXES,
            ("s3:ListBucket",),
            bucket_arn,
            condition={"StringLike": {"s3:prefix": [f"{data}*", f"{results}*"]}},
        ),
        allow("ReadData", READ_ACTIONS, f"{bucket_arn}/{data}*"),
        allow("WriteResults", WRITE_ACTIONS, f"{bucket_arn}/{results}*"),
        *_key_access(bucket_arn, kms_key),
    )


def job_boundary(bucket_arn: str, *, kms_key: str | None = None) -> Document:
    """Return the most that any job's role can be allowed, whatever its own policy says: the objects of this bucket.

    Whoever may make roles may make one that may do everything; GitHub's workflows may make only roles within this.
    """
    return document(
        allow("ListBucket", ("s3:ListBucket",), bucket_arn),
        allow("UseObjects", WRITE_ACTIONS, f"{bucket_arn}/*"),
        *_key_access(bucket_arn, kms_key),
    )


def _key_access(bucket_arn: str, kms_key: str | None) -> tuple[Statement, ...]:
    """Return the use of the bucket's key: through S3 only, and for this bucket only.

    The encryption context is the bucket's ARN with bucket keys on, and the object's for objects from before.
    """
    if kms_key is None:
        return ()
    region = kms_key.split(":")[3]
    condition = {
        "StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"},
        "StringLike": {"kms:EncryptionContext:aws:s3:arn": [bucket_arn, f"{bucket_arn}/*"]},
    }
    return (allow("UseKeyThroughS3", KEY_ACTIONS, kms_key, condition=condition),)


def bucket_access(bucket_arn: str, *, kms_key: str | None = None) -> Document:
    """Return the bucket's own policy: nobody comes without TLS or writes under another encryption than its own.

    S3 judges a request before it fills in the bucket's encryption, so each condition first asks (`Null`) whether the
    request names any: one that names none is welcome. `...IfExists` would refuse it, as it holds for what is absent.
    """
    objects = f"{bucket_arn}/*"
    named = {"Null": {_ENCRYPTION: "false"}}
    wanted = "AES256" if kms_key is None else "aws:kms"
    statements = [
        _deny("TlsOnly", "s3:*", [bucket_arn, objects], {"Bool": {"aws:SecureTransport": "false"}}),
        _deny("NoOtherEncryption", "s3:PutObject", objects, {**named, "StringNotEquals": {_ENCRYPTION: wanted}}),
        # Who loses a key that S3 never held has lost the data; extortion works by it.
        _deny("NoKeysOfCustomers", "s3:PutObject", objects, {"Null": {f"{_ENCRYPTION}-customer-algorithm": "false"}}),
    ]
    if kms_key is not None:
        # Encryption by KMS without a key's name means the account's own aws/s3 key, not the bucket's.
        other_key = {**named, "ArnNotEquals": {f"{_ENCRYPTION}-aws-kms-key-id": kms_key}}
        statements.append(_deny("NoOtherKey", "s3:PutObject", objects, other_key))
    return document(*statements)


def _deny(sid: str, action: str, resource: str | list[str], condition: dict[str, Any]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resource,
        "Condition": condition,
    }


def allow(
    sid: str, actions: tuple[str, ...], resource: str | list[str], *, condition: dict[str, Any] | None = None
) -> Statement:
    """Return a statement that allows actions on a resource."""
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return statement if condition is None else {**statement, "Condition": condition}


def document(*statements: Statement) -> Document:
    """Return a policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}
