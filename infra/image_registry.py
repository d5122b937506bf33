"""Component: image repositories in the account's own registry (ECR), one a service. Declares Pulumi resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_aws import ecr

from infra.tags import KEEP_COMMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegistryArgs:
    """The repositories' names by service, and how many images of each are kept."""

    repository_names: Mapping[str, str]
    keep: int
    tags: Mapping[str, str]


class ImageRegistry(pulumi.ComponentResource):
    """A repository for each service: a tag cannot be moved, what is pushed is scanned, the newest images stay.

    A repository that holds images does not delete: taking a service out of the catalogue is no way to lose them.
    """

    repository_urls: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: ImageRegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trimtab:infra:ImageRegistry", name, None, opts)
        self.repository_urls = {}
        for service, repository_name in args.repository_names.items():
            repository = ecr.Repository(
                f"{name}-{service}",
                name=repository_name,
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
                force_delete=False,
                tags={**args.tags, "service": service},
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=KEEP_COMMIT),
            )
            ecr.LifecyclePolicy(
                f"{name}-{service}-lifecycle",
                repository=repository.name,
                policy=json.dumps(_keep_newest(args.keep)),
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.repository_urls[service] = repository.repository_url
        self.register_outputs({"repository_urls": self.repository_urls})


def _keep_newest(count: int) -> dict[str, object]:
    rule = {
        "rulePriority": 1,
        "description": f"Keep the newest {count} images",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count},
        "action": {"type": "expire"},
    }
    return {"rules": [rule]}
