"""The names and ARNs of a stack, from the catalogue and the account: what resources and policies agree on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trimtab.catalogue import Catalogue
from trimtab.catalogue.model import GITHUB_HOST, MODAL_HOST

JOB_BOUNDARY: Final = "job-boundary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """One stack of the catalogue, in one account.

    Roles lie under paths of their own, for roles of jobs and for those of GitHub: their names are generated, and a
    policy can still speak of the roles of this stack's jobs and of no other role in the account.
    """

    catalogue: Catalogue
    stack: str
    account: str
    partition: str = "aws"

    @classmethod
    def of(cls, catalogue: Catalogue, stack: str, arn: str) -> Estate:
        """Return the stack in the account (and the partition) that an IAM ARN names."""
        _, partition, _, _, account, _ = arn.split(":", 5)
        return cls(catalogue=catalogue, stack=stack, account=account, partition=partition)

    @property
    def bucket_arn(self) -> str:
        """The data bucket."""
        return self._arn("s3", self.catalogue.bucket_name(self.stack))

    def other_bucket_arn(self, name: str) -> str:
        """Return the ARN of a bucket that the stack does not make."""
        return self._arn("s3", name)

    @property
    def made_provider_arns(self) -> tuple[str, ...]:
        """The identity providers that the stack makes, without those which the account had before."""
        sections = {MODAL_HOST: self.catalogue.modal, GITHUB_HOST: self.catalogue.github}
        made = [host for host, section in sections.items() if section is not None and section.provider_arn is None]
        return tuple(self._arn("iam", f"oidc-provider/{host}", account=self.account) for host in made)

    @property
    def job_boundary_arn(self) -> str:
        """The policy that bounds the roles of jobs."""
        return self._arn("iam", f"policy{stack_path(self.catalogue, self.stack)}{JOB_BOUNDARY}", account=self.account)

    def role_arns(self, path: str) -> str:
        """Return the pattern of all roles under a path."""
        return self._arn("iam", f"role{path}*", account=self.account)

    @property
    def repository_arns(self) -> str:
        """The pattern of the stack's image repositories."""
        name = repository_name(self.catalogue, self.stack, "*")
        return self._arn("ecr", f"repository/{name}", region=self.catalogue.aws.region, account=self.account)

    @property
    def budget_arn(self) -> str:
        """The monthly budget."""
        return self._arn("budgets", f"budget/{budget_name(self.catalogue, self.stack)}", account=self.account)

    def _arn(self, service: str, resource: str, *, region: str = "", account: str = "") -> str:
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"


def stack_path(catalogue: Catalogue, stack: str) -> str:
    """Return the IAM path of all that a stack makes: `/PROJECT/STACK/`."""
    return f"/{catalogue.project}/{stack}/"


def job_role_path(catalogue: Catalogue, stack: str) -> str:
    """Return the IAM path of the roles of jobs."""
    return f"{stack_path(catalogue, stack)}jobs/"


def github_role_path(catalogue: Catalogue, stack: str) -> str:
    """Return the IAM path of the roles of GitHub's workflows."""
    return f"{stack_path(catalogue, stack)}github/"


def repository_name(catalogue: Catalogue, stack: str, service: str) -> str:
    """Return the name of a service's image repository."""
    return f"{catalogue.project}/{stack}/{service}"


def budget_name(catalogue: Catalogue, stack: str) -> str:
    """Return the name of the monthly budget."""
    return f"{catalogue.project}-{stack}"
