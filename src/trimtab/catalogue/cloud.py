"""The catalogue's cloud side: the account, the bucket, and who may come in from Modal and from GitHub. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trimtab.catalogue.fields import (
    AlertAddress,
    BucketName,
    GithubId,
    GithubRepository,
    GitName,
    KmsKeyArn,
    ModalAppName,
    ModalWorkspaceId,
    OidcProviderArn,
    OtherBucketName,
    Prefix,
    Region,
    RegistryAddress,
    SessionDuration,
)
from trimtab.catalogue.section import FROZEN, Section

Days = Annotated[int, Field(ge=1, le=3650)]


class MonthlyBudget(Section):
    """An AWS budget: who is told when the month's bill comes near it. AWS tells; it stops nothing."""

    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """The month's amount, in US dollars."""
    alerts: Annotated[tuple[AlertAddress, ...], Field(min_length=1, max_length=10, strict=False)]
    """Who is told at 80 % of it, and when the forecast is over it."""


class Aws(Section):
    """The AWS account's side."""

    region: Region
    """Where the bucket lives."""
    monthly_budget: MonthlyBudget | None = None
    """Left out: none is made."""


class AccessLogs(Section):
    """Where S3 writes who read what: another bucket, which already stands."""

    bucket: OtherBucketName
    """Its name; not the data bucket itself."""
    prefix: Prefix
    """Where in it."""


class ColdTier(Section):
    """When objects under a prefix move to a cheaper tier, and to which."""

    after_days: Days
    """Counted from when the object was written."""
    tier: Literal["STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"]
    """The storage class; GLACIER and DEEP_ARCHIVE need a restore before they can be read again."""

    @model_validator(mode="after")
    def _not_sooner_than_aws_moves(self) -> Self:
        if self.tier == "STANDARD_IA" and self.after_days < 30:
            raise ValueError("after_days must be 30 or more for STANDARD_IA: AWS refuses to move objects sooner")
        return self


class Bucket(Section):
    """The one bucket that holds data sets, models and results."""

    name: BucketName
    """Its name without the stack: `NAME-dev`, `NAME-prod`."""
    models: Prefix
    """Where the weights of the services lie."""
    kms_key: KmsKeyArn | None = None
    """The key that encrypts it (SSE-KMS); left out: S3's own keys (SSE-S3)."""
    old_versions_days: Days = 30
    """How long a version that was overwritten or deleted is kept."""
    old_versions: Annotated[Mapping[Prefix, Days], *FROZEN] = Field(default={}, validate_default=True)
    """Prefixes whose old versions are kept for another number of days."""
    cold: Annotated[Mapping[Prefix, ColdTier], *FROZEN] = Field(default={}, validate_default=True)
    """Prefixes whose objects move to a cheaper tier."""
    broken_uploads_days: Annotated[int, Field(ge=1, le=90)] = 7
    """How long the parts of an upload that never ended are kept."""
    access_logs: AccessLogs | None = None
    """Left out: S3 writes no access log."""


class Modal(Section):
    """Who may assume the roles of the jobs: one app, in one environment of one workspace."""

    workspace: ModalWorkspaceId
    """The workspace's id (`ac-...`), not its name: names can be taken over."""
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """The Modal environment."""
    app: ModalAppName
    """The name of the Modal app."""
    session: SessionDuration = 3600.0
    """How long the credentials of a role last: 1 h to 12 h; the mount asks for new ones by itself."""
    provider_arn: OidcProviderArn | None = None
    """The identity provider for Modal which the account already has: it can have one only. Left out: one is made."""

    @property
    def results_volume(self) -> str:
        """The Volume that holds what all jobs of the app make."""
        return f"{self.app}-results"

    @property
    def data_volume(self) -> str:
        """The Volume that holds data sets, each in the folder of its job's data prefix."""
        return f"{self.app}-data"


class PulumiState(Section):
    """Where Pulumi keeps what it knows of the stacks: a bucket which already stands (PULUMI_BACKEND_URL)."""

    bucket: OtherBucketName
    """Its name; not the data bucket itself."""
    prefix: Prefix
    """Where in it."""


class Github(Section):
    """Who may deploy from GitHub: one branch or one environment of one repository. Pull requests may look."""

    repository: GithubRepository
    """`OWNER/NAME`."""
    owner_id: GithubId | None = None
    """The owner's number: in the tokens of repositories made after 15 July 2026 (`gh api repos/OWNER/NAME`)."""
    repository_id: GithubId | None = None
    """The repository's number; both or neither. They keep out whoever takes over the name later."""
    branch: GitName | None = None
    """The branch that may deploy."""
    environment: GitName | None = None
    """The GitHub environment that may deploy; its own rules then say who."""
    state: PulumiState | None = None
    """What pull requests may read and the deploying workflow may write; left out: Pulumi's state is not in S3."""
    provider_arn: OidcProviderArn | None = None
    """The identity provider for GitHub which the account already has: it can have one only. Left out: one is made."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.branch is None) == (self.environment is None):
            raise ValueError("name either branch or environment: exactly one of them may deploy")
        return self

    @model_validator(mode="after")
    def _both_numbers_or_neither(self) -> Self:
        if (self.owner_id is None) != (self.repository_id is None):
            raise ValueError("name both owner_id and repository_id, or neither: GitHub's tokens hold both or neither")
        return self


class Registry(Section):
    """Where images are pushed: GitHub's registry, repositories in the account's own (ECR), or any at an address."""

    kind: Literal["ghcr", "ecr", "plain"] = "ghcr"
    """`ghcr`: nothing is made in AWS. `ecr`: repositories with tags that cannot be moved, scanned on push. `plain`: a
    registry which already stands."""
    address: RegistryAddress | None = None
    """Where a plain registry is: `HOST:PORT`, or `HOST/PREFIX`; the engine reaches it by HTTPS unless on loopback."""
    keep: Annotated[int, Field(ge=2, le=1000)] = 10
    """How many images of a service ECR keeps; 2 at least, so that there is one to go back to."""

    @model_validator(mode="after")
    def _address_of_a_plain_one(self) -> Self:
        if (self.kind == "plain") != (self.address is not None):
            raise ValueError("a plain registry needs its address, and only a plain one has one here")
        return self
