"""Component: how jobs on Modal reach the bucket: an identity provider, one role a job. Declares Pulumi resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import iam

from infra.policies import job_access, modal_trust
from infra.tags import KEEP_COMMIT
from trimtab.emulation.web_identity import MODAL_AUDIENCE, MODAL_ISSUER

if TYPE_CHECKING:
    from trimtab.catalogue import Job
    from trimtab.catalogue.cloud import Modal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalAccessArgs:
    """Whose containers may come in, and what each job may touch.

    role_path: the IAM path of the roles. boundary_arn: the policy that bounds them, where something but a person may
    change them.
    """

    bucket_arn: pulumi.Input[str]
    kms_key: str | None
    modal: Modal
    jobs: Mapping[str, Job]
    role_path: str
    boundary_arn: pulumi.Input[str] | None
    tags: Mapping[str, str]


class ModalAccess(pulumi.ComponentResource):
    """An OIDC provider for Modal and, for each job, a role that reads the job's data and writes its results.

    Role names are generated (`modal-classifier-3f2a1b9`): a role that must be replaced is made before the old one
    goes, which a fixed name forbids. Nobody types them: whoever needs a role takes its ARN from the stack's outputs.
    """

    provider_arn: pulumi.Output[str]
    role_arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: ModalAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trimtab:infra:ModalAccess", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        tagged = pulumi.ResourceOptions(parent=self, ignore_changes=KEEP_COMMIT)
        if args.modal.provider_arn is None:
            provider = iam.OpenIdConnectProvider(
                f"{name}-provider", url=MODAL_ISSUER, client_id_lists=[MODAL_AUDIENCE], tags=args.tags, opts=tagged
            )
            self.provider_arn = provider.arn
        else:
            self.provider_arn = pulumi.Output.from_input(args.modal.provider_arn)
        self.role_arns = {}
        for job_name, job in args.jobs.items():
            role = iam.Role(
                f"{name}-{job_name}",
                description=f"Job {job_name} on Modal: reads {job.data}, writes {job.results}",
                path=args.role_path,
                assume_role_policy=self.provider_arn.apply(lambda arn: json.dumps(modal_trust(arn, args.modal))),
                max_session_duration=int(args.modal.session),
                permissions_boundary=args.boundary_arn,
                tags={**args.tags, "job": job_name},
                opts=tagged,
            )
            iam.RolePolicy(
                f"{name}-{job_name}-access",
                role=role.name,
                policy=_access_policy(args.bucket_arn, job, args.kms_key),
                opts=child,
            )
            self.role_arns[job_name] = role.arn
        self.register_outputs({"provider_arn": self.provider_arn, "role_arns": self.role_arns})


def _access_policy(bucket_arn: pulumi.Input[str], job: Job, kms_key: str | None) -> pulumi.Output[str]:
    return pulumi.Output.from_input(bucket_arn).apply(
        lambda arn: json.dumps(job_access(arn, data=job.data, results=job.results, kms_key=kms_key))
    )
