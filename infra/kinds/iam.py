"""The identity providers, the roles and their inline policies, and policies that stand by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.kinds.kind import Clients, Kind, Wanted

_ROLE_POLICY: Final = "aws:iam/rolePolicy:RolePolicy"
_ATTACHMENT: Final = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
_SESSION_S: Final = 3600  # IAM's own, where none is said


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
    if actual["clientIdLists"] != wanted["clientIdLists"]:  # moto changes no audience in place
        _delete_provider(clients, arn)
        _create_provider(clients, arn, wanted)
        return
    gone = [*(actual["tags"].keys() - wanted.get("tags", {}).keys())]
    if gone:
        iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=arn, TagKeys=gone)
    iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=_tag_list(wanted.get("tags", {})))


def _delete_provider(clients: Clients, arn: str) -> None:
    _answer_or_none(clients.iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=arn)


def _identify_role(account: str, name: str, wanted: Wanted) -> tuple[str, Wanted]:
    return name, {"arn": f"arn:aws:iam::{account}:role{wanted.get('path', '/')}{name}", "name": name}


def _read_role(clients: Clients, name: str) -> Wanted | None:
    answer = _answer_or_none(clients.iam.get_role, RoleName=name)
    if answer is None:
        return None
    role = answer["Role"]
    return {
        "description": role.get("Description", ""),
        "assumeRolePolicy": role["AssumeRolePolicyDocument"],
        "path": role["Path"],
        "maxSessionDuration": role["MaxSessionDuration"],
        "permissionsBoundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        "tags": _tag_map(role.get("Tags", [])),
    }


def _create_role(clients: Clients, name: str, wanted: Wanted) -> None:
    clients.iam.create_role(
        RoleName=name,
        Path=wanted.get("path", "/"),
        MaxSessionDuration=wanted.get("maxSessionDuration", _SESSION_S),
        Description=wanted.get("description", ""),
        AssumeRolePolicyDocument=json.dumps(wanted["assumeRolePolicy"]),
        Tags=_tag_list(wanted.get("tags", {})),
        **_boundary(wanted),
    )


def _boundary(wanted: Wanted) -> dict[str, str]:
    arn = wanted.get("permissionsBoundary")
    return {"PermissionsBoundary": arn} if arn else {}


def _update_role(clients: Clients, name: str, wanted: Wanted) -> None:
    trust = json.dumps(wanted["assumeRolePolicy"])
    clients.iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    clients.iam.update_role(
        RoleName=name,
        Description=wanted.get("description", ""),
        MaxSessionDuration=wanted.get("maxSessionDuration", _SESSION_S),
    )
    actual = _read_role(clients, name) or {}
    if _boundary(wanted):
        clients.iam.put_role_permissions_boundary(RoleName=name, **_boundary(wanted))
    elif actual["permissionsBoundary"]:
        clients.iam.delete_role_permissions_boundary(RoleName=name)
    gone = [*(actual["tags"].keys() - wanted.get("tags", {}).keys())]
    if gone:
        clients.iam.untag_role(RoleName=name, TagKeys=gone)
    clients.iam.tag_role(RoleName=name, Tags=_tag_list(wanted.get("tags", {})))


def _role_parts(clients: Clients, name: str) -> Iterator[tuple[str, str]]:
    """Yield every right of a role, so that one that nobody declared is seen."""
    inline = _answer_or_none(clients.iam.list_role_policies, RoleName=name)
    for policy in inline["PolicyNames"] if inline else ():
        yield _ROLE_POLICY, f"{name}:{policy}"
    attached = _answer_or_none(clients.iam.list_attached_role_policies, RoleName=name)
    for policy in attached["AttachedPolicies"] if attached else ():
        yield _ATTACHMENT, f"{name}/{policy['PolicyArn']}"


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


def _identify_policy(account: str, name: str, wanted: Wanted) -> tuple[str, Wanted]:
    arn = f"arn:aws:iam::{account}:policy{wanted.get('path', '/')}{name}"
    return arn, {"arn": arn, "name": name}


def _read_policy(clients: Clients, arn: str) -> Wanted | None:
    answer = _answer_or_none(clients.iam.get_policy, PolicyArn=arn)
    if answer is None:
        return None
    policy = answer["Policy"]
    version = clients.iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    return {
        "name": policy["PolicyName"],
        "path": policy["Path"],
        "description": policy.get("Description", ""),
        "policy": version["Document"],
        "tags": _tag_map(policy.get("Tags", [])),
    }


def _create_policy(clients: Clients, arn: str, wanted: Wanted) -> None:
    clients.iam.create_policy(
        PolicyName=arn.rpartition("/")[2],
        Path=wanted.get("path", "/"),
        Description=wanted.get("description", ""),
        PolicyDocument=json.dumps(wanted["policy"]),
        Tags=_tag_list(wanted.get("tags", {})),
    )


def _update_policy(clients: Clients, arn: str, wanted: Wanted) -> None:
    iam = clients.iam
    actual = _read_policy(clients, arn) or {}
    if actual["policy"] != wanted["policy"]:
        _delete_old_versions(iam, arn)  # IAM keeps five and takes no sixth
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(wanted["policy"]), SetAsDefault=True)
    gone = [*(actual["tags"].keys() - wanted.get("tags", {}).keys())]
    if gone:
        iam.untag_policy(PolicyArn=arn, TagKeys=gone)
    iam.tag_policy(PolicyArn=arn, Tags=_tag_list(wanted.get("tags", {})))


def _delete_old_versions(iam: Any, arn: str) -> None:
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])


def _delete_policy(clients: Clients, arn: str) -> None:
    if _read_policy(clients, arn) is not None:
        _delete_old_versions(clients.iam, arn)
        clients.iam.delete_policy(PolicyArn=arn)


def _identify_attachment(_account: str, _name: str, wanted: Wanted) -> tuple[str, Wanted]:
    return f"{wanted['role']}/{wanted['policyArn']}", {}


def _attachment_names(identifier: str) -> dict[str, str]:
    role, _, arn = identifier.partition("/")
    return {"RoleName": role, "PolicyArn": arn}


def _read_attachment(clients: Clients, identifier: str) -> Wanted | None:
    names = _attachment_names(identifier)
    if (_ATTACHMENT, identifier) not in _role_parts(clients, names["RoleName"]):
        return None
    return {"role": names["RoleName"], "policyArn": names["PolicyArn"]}


def _attach(clients: Clients, identifier: str, _wanted: Wanted) -> None:
    clients.iam.attach_role_policy(**_attachment_names(identifier))


def _detach(clients: Clients, identifier: str) -> None:
    _answer_or_none(clients.iam.detach_role_policy, **_attachment_names(identifier))


PROVIDER: Final = Kind(
    identify=_identify_provider,
    read=_read_provider,
    create=_create_provider,
    update=_update_provider,
    delete=_delete_provider,
)
ROLE: Final = Kind(
    identify=_identify_role,
    read=_read_role,
    create=_create_role,
    update=_update_role,
    delete=_delete_role,
    parts=_role_parts,
)
ROLE_POLICY: Final = Kind(
    identify=_identify_role_policy,
    read=_read_role_policy,
    create=_put_role_policy,
    update=_put_role_policy,
    delete=_delete_role_policy,
    is_setting=True,
)
ROLE_POLICY_ATTACHMENT: Final = Kind(
    identify=_identify_attachment,
    read=_read_attachment,
    create=_attach,
    update=_attach,
    delete=_detach,
    is_setting=True,
)
POLICY: Final = Kind(
    identify=_identify_policy,
    read=_read_policy,
    create=_create_policy,
    update=_update_policy,
    delete=_delete_policy,
)
