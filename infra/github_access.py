"""Component: how GitHub's workflows come in: a role that looks, and a role that deploys. Declares Pulumi resources."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import iam

from infra.estate import JOB_BOUNDARY, Estate, github_role_path, stack_path
from infra.github_policies import deployment_access, preview_access
from infra.policies import GITHUB_AUDIENCE, GITHUB_ISSUER, deployment_trust, job_boundary, pull_request_trust
from infra.tags import KEEP_COMMIT

if TYPE_CHECKING:
    from trimtab.catalogue import Catalogue
    from trimtab.catalogue.cloud import Github


@dataclass(frozen=True, slots=True, kw_only=True)
class GithubAccessArgs:
    """Whose workflows may come in, and the stack of which catalogue they may look at and change."""

    github: Github
    catalogue: Catalogue
    stack: str
    bucket_arn: pulumi.Input[str]
    tags: Mapping[str, str]


class GithubAccess(pulumi.ComponentResource):
    """An OIDC provider for GitHub, a role for pull requests, a role for deployments, and what bounds the latter.

    Whoever may make roles may make one with every right. So deployments may make roles only under the boundary, which
    they cannot change, and under the jobs' path, where their own role does not lie.
    """

    provider_arn: pulumi.Output[str]
    boundary_arn: pulumi.Output[str]
    role_arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: GithubAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trimtab:infra:GithubAccess", name, None, opts)
        tagged = pulumi.ResourceOptions(parent=self, ignore_changes=KEEP_COMMIT)
        if args.github.provider_arn is None:
            provider = iam.OpenIdConnectProvider(
                f"{name}-provider", url=GITHUB_ISSUER, client_id_lists=[GITHUB_AUDIENCE], tags=args.tags, opts=tagged
            )
            self.provider_arn = provider.arn
        else:
            self.provider_arn = pulumi.Output.from_input(args.github.provider_arn)
        key = args.catalogue.bucket.kms_key
        boundary = iam.Policy(
            f"{name}-{JOB_BOUNDARY}",
            name=JOB_BOUNDARY,  # fixed: the deploying role's own policy names it
            path=stack_path(args.catalogue, args.stack),
            description="The most that any role of a job can be allowed",
            policy=pulumi.Output.from_input(args.bucket_arn).apply(
                lambda arn: json.dumps(job_boundary(arn, kms_key=key))
            ),
            tags=args.tags,
            opts=tagged,
        )
        self.boundary_arn = boundary.arn
        self.role_arns = {
            "preview": self._role(f"{name}-preview", "Pull requests look", pull_request_trust, preview_access, args),
            "deployment": self._role(f"{name}-deployment", "Deployments", deployment_trust, deployment_access, args),
        }
        self.register_outputs(
            {"provider_arn": self.provider_arn, "boundary_arn": self.boundary_arn, "role_arns": self.role_arns}
        )

    def _role(
        self,
        name: str,
        description: str,
        trust: Callable[[str, Github], Any],
        access: Callable[[Estate], Any],
        args: GithubAccessArgs,
    ) -> pulumi.Output[str]:
        role = iam.Role(
            name,
            description=f"{description} from {args.github.repository}",
            path=github_role_path(args.catalogue, args.stack),
            assume_role_policy=self.provider_arn.apply(lambda arn: json.dumps(trust(arn, args.github))),
            max_session_duration=3600,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=KEEP_COMMIT),
        )
        iam.RolePolicy(
            f"{name}-access",
            role=role.name,
            # The account is known once there is anything of it.
            policy=self.provider_arn.apply(lambda arn: json.dumps(access(Estate.of(args.catalogue, args.stack, arn)))),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return role.arn
