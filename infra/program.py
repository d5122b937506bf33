"""What a stack holds: the data bucket, and the roles by which the jobs on Modal reach it. Declares Pulumi resources."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.data_bucket import DataBucket, DataBucketArgs
from infra.modal_access import ModalAccess, ModalAccessArgs
from trimtab.catalogue import Catalogue
from trimtab.catalogue.model import STACKS
from trimtab.errors import UsageError


def declare(catalogue: Catalogue, stack: str) -> None:
    """Declare everything that a stack holds, and export what others need of it. Raises UsageError."""
    require_stack(stack)
    provider = aws.Provider("aws", region=catalogue.aws.region)
    options = pulumi.ResourceOptions(providers=[provider])
    tags = {"project": catalogue.project, "stack": stack, "owner": catalogue.owner}
    data = DataBucket(
        "data",
        DataBucketArgs(
            bucket_name=catalogue.bucket_name(stack),
            old_versions_days=catalogue.bucket.old_versions_days,
            broken_uploads_days=catalogue.bucket.broken_uploads_days,
            keep=stack != "dev",
            tags=tags,
        ),
        options,
    )
    modal = ModalAccess(
        "modal",
        ModalAccessArgs(bucket_arn=data.bucket_arn, modal=catalogue.modal, jobs=catalogue.jobs, tags=tags),
        options,
    )
    pulumi.export("bucket", data.bucket_name)
    pulumi.export("region", catalogue.aws.region)
    pulumi.export("modal_provider_arn", modal.provider_arn)
    pulumi.export("modal_role_arns", modal.role_arns)


def require_stack(stack: str) -> None:
    """Refuse a stack that the house does not know. Raises UsageError."""
    if stack not in STACKS:
        raise UsageError(
            f"there is no stack {stack!r}",
            why=f"the stacks are {', '.join(STACKS)}: the bucket's name and what is protected follow from them",
            remedy=f"name one of them: --stack {STACKS[0]}",
        )
