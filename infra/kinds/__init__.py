"""How each type of resource is made, read, changed and taken away on an embedded AWS: a table of small functions.

Calls AWS with the clients that it is given. A type that is not in the table is an error: nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from infra.kinds import budgets, ecr, iam, s3
from infra.kinds.kind import Clients, Kind, Wanted
from trimtab.errors import UsageError

KINDS: Final[Mapping[str, Kind]] = {
    "aws:s3/bucket:Bucket": s3.BUCKET,
    "aws:s3/bucketVersioning:BucketVersioning": s3.VERSIONING,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": s3.ENCRYPTION,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": s3.OWNERSHIP,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": s3.PUBLIC_ACCESS_BLOCK,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": s3.LIFECYCLE,
    "aws:s3/bucketPolicy:BucketPolicy": s3.POLICY,
    "aws:s3/bucketLogging:BucketLogging": s3.LOGGING,
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": iam.PROVIDER,
    "aws:iam/role:Role": iam.ROLE,
    "aws:iam/rolePolicy:RolePolicy": iam.ROLE_POLICY,
    "aws:iam/policy:Policy": iam.POLICY,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": iam.ROLE_POLICY_ATTACHMENT,
    "aws:ecr/repository:Repository": ecr.REPOSITORY,
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": ecr.LIFECYCLE_POLICY,
    "aws:budgets/budget:Budget": budgets.BUDGET,
}


def kind_of(type_: str) -> Kind:
    """Return how resources of a type are handled. Raises UsageError for a type that the embedded AWS cannot hold."""
    if type_ not in KINDS:
        raise UsageError(
            f"the embedded AWS cannot hold a {type_}",
            why="infra/kinds/ has no functions that make and read it",
            remedy="write them there, with their test, or apply the program to AWS with `trimtab infra up`",
        )
    return KINDS[type_]


__all__ = ["KINDS", "Clients", "Kind", "Wanted", "kind_of"]
