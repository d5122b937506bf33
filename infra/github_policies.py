"""What GitHub's workflows may do: pull requests look, deployments add jobs and images. Pure.

The bucket, its settings, the identity providers, the boundary of the jobs' roles, these two roles and the budget are
read-only to both: nothing that runs in CI can open the bucket, delete a version of an object, or widen its own rights.
A change of those is applied by a person (docs/decisions/0003-ci-adds-people-move-the-guard-rails.md).

Sources: what Pulumi reads and writes in its state, pulumi/pulumi pkg/backend/diy (a preview takes no lock); what the
AWS provider calls to read and change each resource, hashicorp/terraform-provider-aws internal/service.
"""

from __future__ import annotations

from typing import Final

from infra.estate import Estate, github_role_path, job_role_path
from infra.policies import Document, Statement, allow, document

BUCKET_SETTINGS: Final = (
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",  # the provider asks whether a bucket is there by HeadBucket, which is this action
    "s3:ListTagsForResource",
)
READ_ROLES: Final = ("iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies")
READ_BOUNDARY: Final = ("iam:GetPolicy", "iam:GetPolicyVersion")
READ_REPOSITORIES: Final = ("ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:ListTagsForResource")
READ_BUDGET: Final = ("budgets:ListTagsForResource", "budgets:ViewBudget")
READ_STATE: Final = ("s3:GetObject",)
WRITE_STATE: Final = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject")
GRANT: Final = ("iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy")
TEND_ROLES: Final = (
    "iam:DeleteRole",
    "iam:ListInstanceProfilesForRole",  # asked before a role is deleted
    "iam:TagRole",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
    "iam:UpdateRoleDescription",
)
MAKE_REPOSITORIES: Final = ("ecr:CreateRepository", "ecr:PutLifecyclePolicy", "ecr:TagResource")
PUSH_IMAGES: Final = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)


def preview_access(estate: Estate) -> Document:
    """Return what pull requests may do: read the settings of what the stack made, and Pulumi's state; no object."""
    return document(*_read_settings(estate), *_state_access(estate, "ReadState", READ_STATE))


def deployment_access(estate: Estate) -> Document:
    """Return what deployments may do: what pull requests may, and change the jobs' roles, images and the state.

    No action passes a role on (iam:PassRole): no service of AWS runs anything under these roles.
    """
    return document(
        *_read_settings(estate),
        *_state_access(estate, "WriteState", WRITE_STATE),
        *_job_roles(estate),
        *_images(estate),
    )


def _read_settings(estate: Estate) -> list[Statement]:
    catalogue, stack = estate.catalogue, estate.stack
    roles = [estate.role_arns(job_role_path(catalogue, stack)), estate.role_arns(github_role_path(catalogue, stack))]
    statements = [
        allow("ReadBucketSettings", BUCKET_SETTINGS, estate.bucket_arn),
        allow("ReadRoles", READ_ROLES, roles),
        allow("ReadBoundary", READ_BOUNDARY, estate.job_boundary_arn),
    ]
    if estate.made_provider_arns:
        providers = list(estate.made_provider_arns)
        statements.append(allow("ReadProviders", ("iam:GetOpenIDConnectProvider",), providers))
    if catalogue.registry.kind == "ecr":
        statements.append(allow("ReadRepositories", READ_REPOSITORIES, estate.repository_arns))
    if catalogue.aws.monthly_budget is not None:
        statements.append(allow("ReadBudget", READ_BUDGET, estate.budget_arn))
    return statements


def _state_access(estate: Estate, sid: str, actions: tuple[str, ...]) -> list[Statement]:
    state = estate.catalogue.github.state if estate.catalogue.github else None
    if state is None:
        return []
    bucket = estate.other_bucket_arn(state.bucket)
    prefixes = {"StringLike": {"s3:prefix": f"{state.prefix}*"}}
    return [
        allow("ListState", ("s3:ListBucket",), bucket, condition=prefixes),
        allow(sid, actions, f"{bucket}/{state.prefix}*"),
    ]


def _job_roles(estate: Estate) -> list[Statement]:
    roles = estate.role_arns(job_role_path(estate.catalogue, estate.stack))
    bounded = {"StringEquals": {"iam:PermissionsBoundary": estate.job_boundary_arn}}
    return [
        allow("GrantWithinBoundary", GRANT, roles, condition=bounded),
        allow("TendJobRoles", TEND_ROLES, roles),
    ]


def _images(estate: Estate) -> list[Statement]:
    if estate.catalogue.registry.kind != "ecr":
        return []
    return [
        allow("MakeRepositories", MAKE_REPOSITORIES, estate.repository_arns),
        allow("PushImages", PUSH_IMAGES, estate.repository_arns),
        allow("SignIn", ("ecr:GetAuthorizationToken",), "*"),  # the action knows no resource
    ]
