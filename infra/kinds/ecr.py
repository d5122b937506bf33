"""The image repositories and their lifecycle policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.kinds.kind import Clients, Kind, Wanted

_ABSENT: Final = ("RepositoryNotFoundException", "LifecyclePolicyNotFoundException")


def _answer_or_none(clients: Clients, action: str, **names: Any) -> Any:
    try:
        return getattr(clients.other("ecr"), action)(**names)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return None
        raise


def _identify_repository(account: str, name: str, wanted: Wanted) -> tuple[str, Wanted]:
    region = wanted["region"]
    return name, {
        "arn": f"arn:aws:ecr:{region}:{account}:repository/{name}",
        "name": name,
        "registryId": account,
        "repositoryUrl": f"{account}.dkr.ecr.{region}.amazonaws.com/{name}",
    }


def _read_repository(clients: Clients, name: str) -> Wanted | None:
    answer = _answer_or_none(clients, "describe_repositories", repositoryNames=[name])
    if answer is None:
        return None
    found = answer["repositories"][0]
    tags = clients.other("ecr").list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    return {
        "name": name,
        "imageTagMutability": found["imageTagMutability"],
        "imageScanningConfiguration": found["imageScanningConfiguration"],
        "encryptionConfigurations": [found["encryptionConfiguration"]],
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


def _visible_repository(wanted: Wanted) -> Wanted:
    # Whether it may be deleted with its images is the provider's to know, not the repository's.
    return {key: value for key, value in wanted.items() if key != "forceDelete"}


def _tags(wanted: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in wanted.get("tags", {}).items()]


def _create_repository(clients: Clients, name: str, wanted: Wanted) -> None:
    encryption = wanted.get("encryptionConfigurations", ())
    clients.other("ecr").create_repository(
        repositoryName=name,
        imageTagMutability=wanted.get("imageTagMutability", "MUTABLE"),
        imageScanningConfiguration=wanted.get("imageScanningConfiguration", {"scanOnPush": False}),
        tags=_tags(wanted),
        **({"encryptionConfiguration": encryption[0]} if encryption else {}),
    )


def _update_repository(clients: Clients, name: str, wanted: Wanted) -> None:
    ecr = clients.other("ecr")
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability=wanted.get("imageTagMutability", "MUTABLE"))
    scanning = wanted.get("imageScanningConfiguration", {"scanOnPush": False})
    ecr.put_image_scanning_configuration(repositoryName=name, imageScanningConfiguration=scanning)
    arn = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryArn"]
    there = {tag["Key"] for tag in ecr.list_tags_for_resource(resourceArn=arn)["tags"]}
    gone = sorted(there - wanted.get("tags", {}).keys())
    if gone:
        ecr.untag_resource(resourceArn=arn, tagKeys=gone)
    ecr.tag_resource(resourceArn=arn, tags=_tags(wanted))


def _delete_repository(clients: Clients, name: str) -> None:
    _answer_or_none(clients, "delete_repository", repositoryName=name)


def _identify_lifecycle(_account: str, _name: str, wanted: Wanted) -> tuple[str, Wanted]:
    return wanted["repository"], {}


def _read_lifecycle(clients: Clients, name: str) -> Wanted | None:
    answer = _answer_or_none(clients, "get_lifecycle_policy", repositoryName=name)
    return None if answer is None else {"repository": name, "policy": json.loads(answer["lifecyclePolicyText"])}


def _put_lifecycle(clients: Clients, name: str, wanted: Wanted) -> None:
    text = json.dumps(wanted["policy"])
    clients.other("ecr").put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=text)


def _delete_lifecycle(clients: Clients, name: str) -> None:
    _answer_or_none(clients, "delete_lifecycle_policy", repositoryName=name)


REPOSITORY: Final = Kind(
    identify=_identify_repository,
    read=_read_repository,
    create=_create_repository,
    update=_update_repository,
    delete=_delete_repository,
    visible=_visible_repository,
)
LIFECYCLE_POLICY: Final = Kind(
    identify=_identify_lifecycle,
    read=_read_lifecycle,
    create=_put_lifecycle,
    update=_put_lifecycle,
    delete=_delete_lifecycle,
    is_setting=True,
)
