"""Policy documents: pure functions from names to what IAM and S3 read. The whole of who may do what stands here.

Sources: https://modal.com/docs/guide/oidc-integration and https://modal.com/docs/guide/cloud-bucket-mounts for what
Modal's tokens say and its bucket mount calls.
"""

from __future__ import annotations

from typing import Any, Final

from trimtab.catalogue.cloud import Modal
from trimtab.emulation.web_identity import ASSUME_ACTION, MODAL_AUDIENCE, MODAL_ISSUER

Document = dict[str, Any]

READ_ACTIONS: Final = ("s3:GetObject",)
WRITE_ACTIONS: Final = ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject")


def modal_trust(provider_arn: str, modal: Modal) -> Document:
    """Return who may assume a job's role: containers of one Modal app, in one environment of one workspace.

    AWS matches only `aud` and `sub` of Modal's token. The colon after the app's name keeps out an app whose name
    begins with ours; what follows it (function and container) changes with every start.
    """
    issuer = MODAL_ISSUER.removeprefix("https://")
    subject = f"modal:workspace_id:{modal.workspace}:environment_name:{modal.environment}:app_name:{modal.app}:*"
    return _document(
        {
            "Sid": "OurModalApp",
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn},
            "Action": ASSUME_ACTION,
            "Condition": {
                "StringEquals": {f"{issuer}:aud": MODAL_AUDIENCE},
                "StringLike": {f"{issuer}:sub": subject},
            },
        }
    )


def job_access(bucket_arn: str, *, data: str, results: str) -> Document:
    """Return what a job may do: list and read its data, list, read and write its results, and nothing else.

    `data` and `results` are key prefixes that end in `/`.
    """
    return _document(
        {
            "Sid": "ListOwnPrefixes",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket_arn,
            "Condition": {"StringLike": {"s3:prefix": [f"{data}*", f"{results}*"]}},
        },
        {"Sid": "ReadData", "Effect": "Allow", "Action": list(READ_ACTIONS), "Resource": f"{bucket_arn}/{data}*"},
        {
            "Sid": "WriteResults",
            "Effect": "Allow",
            "Action": list(WRITE_ACTIONS),
            "Resource": f"{bucket_arn}/{results}*",
        },
    )


def tls_only(bucket_arn: str) -> Document:
    """Return the bucket's own policy: nobody reads or writes it without TLS."""
    return _document(
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}
