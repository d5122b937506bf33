"""The identity provider, the roles and their inline policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.kinds.kind import Clients, Kind, Wanted


def _answer_or_none(call: Callable[..., Any], **names: str) -> Any:
    try:
        return call(**names)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            return None
        raise


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _tag_map(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def _identify_provider(account: str, _name: str, wanted: Wanted) -> tuple[str, Wanted]:
    arn = f"arn:aws:iam::{account}:oidc-provider/{wanted['url'].removeprefix('https://')}"
    return arn, {"arn": arn}


def _read_provider(clients: Clients, arn: str) -> Wanted | None:
    answer = _answer_or_none(clients.iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn)
    if answer is None:
        return None
    return {
        "url": f"https://{answer['Url'].removeprefix('https://')}",
        "clientIdLists": answer["ClientIDList"],
        "tags": _tag_map(answer.get("Tags", [])),
    }


def _create_provider(clients: Clients, _arn: str, wanted: Wanted) -> None:
    clients.iam.create_open_id_connect_provider(
        Url=wanted["url"], ClientIDList=wanted["clientIdLists"], Tags=_tag_list(wanted.get("tags", {}))
    )


def _update_provider(clients: Clients, arn: str, wanted: Wanted) -> None:
    actual = _read_provider(clients, arn) or {}
    iam = clients.iam
    for audience in set(wanted["clientIdLists"]) - set(actual["clientIdLists"]):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=audience)
    for audience in set(actual["clientIdLists"]) - set(wanted["clientIdLists"]):
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=audience)
    gone = [*(actual["tags"].keys() - wanted.get("tags", {}).keys())]
    if gone:
        iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=arn, TagKeys=gone)
    iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=_tag_list(wanted.get("tags", {})))


def _delete_provider(clients: Clients, arn: str) -> None:
    _answer_or_none(clients.iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=arn)


def _identify_role(account: str, name: str, _wanted: Wanted) -> tuple[str, Wanted]:
    return name, {"arn": f"arn:aws:iam::{account}:role/{name}", "name": name}


def _read_role(clients: Clients, name: str) -> Wanted | None:
    answer = _answer_or_none(clients.iam.get_role, RoleName=name)
    if answer is None:
        return None
    role = answer["Role"]
    return {
        "description": role.get("Description", ""),
        "assumeRolePolicy": role["AssumeRolePolicyDocument"],
        "tags": _tag_map(role.get("Tags", [])),
    }


def _create_role(clients: Clients, name: str, wanted: Wanted) -> None:
    clients.iam.create_role(
        RoleName=name,
        Description=wanted.get("description", ""),
        AssumeRolePolicyDocument=json.dumps(wanted["assumeRolePolicy"]),
        Tags=_tag_list(wanted.get("tags", {})),
    )


def _update_role(clients: Clients, name: str, wanted: Wanted) -> None:
    trust = json.dumps(wanted["assumeRolePolicy"])
    clients.iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    clients.iam.update_role(RoleName=name, Description=wanted.get("description", ""))
    gone = [*((_read_role(clients, name) or {})["tags"].keys() - wanted.get("tags", {}).keys())]
    if gone:
        clients.iam.untag_role(RoleName=name, TagKeys=gone)
    clients.iam.tag_role(RoleName=name, Tags=_tag_list(wanted.get("tags", {})))


def _delete_role(clients: Clients, name: str) -> None:
    _answer_or_none(clients.iam.delete_role, RoleName=name)


def _identify_role_policy(_account: str, name: str, wanted: Wanted) -> tuple[str, Wanted]:
    return f"{wanted['role']}:{name}", {"name": name}


def _role_policy_names(identifier: str) -> dict[str, str]:
    role, _, name = identifier.partition(":")
    return {"RoleName": role, "PolicyName": name}


def _read_role_policy(clients: Clients, identifier: str) -> Wanted | None:
    names = _role_policy_names(identifier)
    answer = _answer_or_none(clients.iam.get_role_policy, **names)
    return None if answer is None else {"role": names["RoleName"], "policy": answer["PolicyDocument"]}


def _put_role_policy(clients: Clients, identifier: str, wanted: Wanted) -> None:
    clients.iam.put_role_policy(**_role_policy_names(identifier), PolicyDocument=json.dumps(wanted["policy"]))


def _delete_role_policy(clients: Clients, identifier: str) -> None:
    _answer_or_none(clients.iam.delete_role_policy, **_role_policy_names(identifier))


PROVIDER: Final = Kind(
    identify=_identify_provider,
    read=_read_provider,
    create=_create_provider,
    update=_update_provider,
    delete=_delete_provider,
)
ROLE: Final = Kind(
    identify=_identify_role, read=_read_role, create=_create_role, update=_update_role, delete=_delete_role
)
ROLE_POLICY: Final = Kind(
    identify=_identify_role_policy,
    read=_read_role_policy,
    create=_put_role_policy,
    update=_put_role_policy,
    delete=_delete_role_policy,
    is_setting=True,
)
