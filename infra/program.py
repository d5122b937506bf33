"""What a stack holds: the data bucket, and who reaches it from Modal and from GitHub. Declares Pulumi resources."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.data_bucket import DataBucket, DataBucketArgs
from infra.estate import budget_name, job_role_path, repository_name
from infra.github_access import GithubAccess, GithubAccessArgs
from infra.image_registry import ImageRegistry, ImageRegistryArgs
from infra.modal_access import ModalAccess, ModalAccessArgs
from infra.monthly_budget import MonthlyBudget, MonthlyBudgetArgs
from infra.tags import tags_of
from trimtab.catalogue import Catalogue
from trimtab.catalogue.lifecycle import old_version_rules
from trimtab.catalogue.model import STACKS
from trimtab.errors import UsageError


def declare(catalogue: Catalogue, stack: str, *, commit: str = "") -> None:
    """Declare everything that a stack holds, and export what others need of it. Raises UsageError.

    `commit` is what is checked out; what is made now is tagged with it.
    """
    require_stack(stack)
    provider = aws.Provider("aws", region=catalogue.aws.region)
    options = pulumi.ResourceOptions(providers=[provider])
    tags = tags_of(catalogue, stack, commit=commit)
    bucket = catalogue.bucket
    data = DataBucket(
        "data",
        DataBucketArgs(
            bucket_name=catalogue.bucket_name(stack),
            kms_key=bucket.kms_key,
            old_versions=old_version_rules(catalogue),
            cold=bucket.cold,
            broken_uploads_days=bucket.broken_uploads_days,
            access_logs=bucket.access_logs,
            keep=stack != "dev",
            tags=tags,
        ),
        options,
    )
    github = None
    if catalogue.github is not None:
        github = GithubAccess(
            "github",
            GithubAccessArgs(
                github=catalogue.github, catalogue=catalogue, stack=stack, bucket_arn=data.bucket_arn, tags=tags
            ),
            options,
        )
        pulumi.export("github_role_arns", github.role_arns)
    modal = ModalAccess(
        "modal",
        ModalAccessArgs(
            bucket_arn=data.bucket_arn,
            kms_key=bucket.kms_key,
            modal=catalogue.modal,
            jobs=catalogue.jobs,
            role_path=job_role_path(catalogue, stack),
            boundary_arn=github.boundary_arn if github else None,
            tags=tags,
        ),
        options,
    )
    if catalogue.registry.kind == "ecr":
        names = {service: repository_name(catalogue, stack, service) for service in catalogue.services}
        images = ImageRegistry(
            "images", ImageRegistryArgs(repository_names=names, keep=catalogue.registry.keep, tags=tags), options
        )
        pulumi.export("image_repository_urls", images.repository_urls)
    budget = catalogue.aws.monthly_budget
    if budget is not None:
        MonthlyBudget(
            "budget",
            MonthlyBudgetArgs(
                budget_name=budget_name(catalogue, stack), usd=budget.usd, alerts=budget.alerts, tags=tags
            ),
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
