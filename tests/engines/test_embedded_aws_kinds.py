"""The functions of infra/kinds/, one by one, on an embedded AWS: what `up` seldom does, and never hides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from infra.embedded import clients_of
from infra.kinds import KINDS, Clients, kind_of
from tests.support.embedded import embedded_aws

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-north-1"
_TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_BUCKET: Final = "harbour-kinds"
_POLICY_ARN: Final = f"arn:aws:iam::{ACCOUNT}:policy/harbour/boundary"
_BUDGET: Final[dict[str, Any]] = {
    "name": "harbour",
    "budgetType": "COST",
    "limitAmount": "10.0",
    "limitUnit": "USD",
    "timeUnit": "MONTHLY",
    "notifications": [],
}


def policy(action: str) -> dict[str, Any]:
    statement = {"Sid": "Only", "Effect": "Allow", "Action": action, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


# What stands for a resource of each type that is tagged or has parts: (id, as it is made first, as it is changed to).
CHANGES: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "aws:s3/bucket:Bucket": (
        _BUCKET,
        {"bucket": _BUCKET, "tags": {"owner": "pilots", "old": "x"}},
        {"bucket": _BUCKET, "tags": {"owner": "captains"}},
    ),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": (
        f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com",
        {"url": "https://oidc.example.com", "clientIdLists": ["harbour"], "tags": {"owner": "pilots", "old": "x"}},
        {"url": "https://oidc.example.com", "clientIdLists": ["harbour"], "tags": {"owner": "captains"}},
    ),
    "aws:iam/policy:Policy": (
        _POLICY_ARN,
        {"path": "/harbour/", "policy": policy("s3:GetObject"), "tags": {"owner": "pilots", "old": "x"}},
        {"path": "/harbour/", "policy": policy("s3:PutObject"), "tags": {"owner": "captains"}},
    ),
    "aws:iam/role:Role": (
        "harbour-tides",
        {
            "path": "/harbour/",
            "assumeRolePolicy": _TRUST,
            "permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/some-boundary",
            "maxSessionDuration": 7200,
            "tags": {"owner": "pilots", "old": "x"},
        },
        {"path": "/harbour/", "assumeRolePolicy": _TRUST, "description": "the tides", "tags": {"owner": "captains"}},
    ),
    "aws:ecr/repository:Repository": (
        "harbour/gulls",
        {
            "name": "harbour/gulls",
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "tags": {"owner": "pilots", "old": "x"},
        },
        {"name": "harbour/gulls", "tags": {"owner": "captains"}},
    ),
    "aws:budgets/budget:Budget": (
        f"{ACCOUNT}:harbour",
        {**_BUDGET, "limitAmount": "5.0"},
        _BUDGET,
    ),
}
# An id of each type under which there is nothing.
ABSENT: Final = {
    **dict.fromkeys((type_ for type_ in KINDS if type_.startswith("aws:s3/")), "harbour-of-nobody"),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/nobody.example.com",
    "aws:iam/role:Role": "nobody",
    "aws:iam/rolePolicy:RolePolicy": "nobody:access",
    "aws:iam/policy:Policy": f"arn:aws:iam::{ACCOUNT}:policy/nobody",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": f"nobody/{_POLICY_ARN}",
    "aws:ecr/repository:Repository": "nobody",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": "nobody",
    "aws:budgets/budget:Budget": f"{ACCOUNT}:nobody",
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with embedded_aws(tmp_path_factory.mktemp("aws")) as running:
        yield clients_of(running, region=REGION)


@pytest.fixture(scope="module")
def strangers() -> Clients:
    """Give the clients of somebody whom AWS does not let in: each call is refused before it is sent."""
    return Clients(s3=_Refusing(), iam=_Refusing(), other=lambda _service: _Refusing())  # type: ignore[arg-type]


class _Refusing:
    """A client of a service that refuses every call, as IAM does."""

    def __getattr__(self, action: str) -> Any:
        def refuse(**_: Any) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, action)

        return refuse


def test_every_type_is_asked_about_here() -> None:
    assert ABSENT.keys() == KINDS.keys()


@pytest.mark.parametrize("type_", ABSENT)
def test_what_is_not_there_is_read_as_nothing_and_deleted_without_an_error(clients: Clients, type_: str) -> None:
    kind = kind_of(type_)
    assert kind.read(clients, ABSENT[type_]) is None
    kind.delete(clients, ABSENT[type_])
    assert [*kind.parts(clients, ABSENT[type_])] == []


@pytest.mark.parametrize("type_", ABSENT)
def test_a_refusal_is_never_taken_for_nothing_there(strangers: Clients, type_: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        kind_of(type_).read(strangers, ABSENT[type_])


@pytest.mark.parametrize("type_", CHANGES)
def test_a_resource_is_made_changed_in_place_and_taken_away(clients: Clients, type_: str) -> None:
    kind, (identifier, first, then) = kind_of(type_), CHANGES[type_]
    kind.create(clients, identifier, first)
    made = kind.read(clients, identifier)
    assert made is not None
    assert made == {**made, **first}
    kind.update(clients, identifier, then)
    changed = kind.read(clients, identifier)
    assert changed is not None
    assert changed == {**changed, **then}
    kind.delete(clients, identifier)
    assert kind.read(clients, identifier) is None


def test_a_role_that_is_declared_without_a_boundary_and_a_session_has_neither_any_more(clients: Clients) -> None:
    kind, (name, first, then) = kind_of("aws:iam/role:Role"), CHANGES["aws:iam/role:Role"]
    kind.create(clients, name, first)
    kind.update(clients, name, then)
    found = kind.read(clients, name)
    kind.delete(clients, name)
    assert found is not None
    assert (found["permissionsBoundary"], found["maxSessionDuration"]) == (None, 3600)


def test_a_policy_is_changed_more_often_than_iam_keeps_versions(clients: Clients) -> None:
    kind, (arn, first, _) = kind_of("aws:iam/policy:Policy"), CHANGES["aws:iam/policy:Policy"]
    kind.create(clients, arn, first)
    for number in range(7):
        kind.update(clients, arn, {**first, "policy": policy(f"s3:Get{number}")})
    found = kind.read(clients, arn)
    versions = clients.iam.list_policy_versions(PolicyArn=arn)["Versions"]
    kind.delete(clients, arn)
    assert found is not None
    assert found["policy"] == policy("s3:Get6")
    assert len(versions) == 2


def test_a_policy_that_stays_gets_no_new_version(clients: Clients) -> None:
    kind, (arn, first, _) = kind_of("aws:iam/policy:Policy"), CHANGES["aws:iam/policy:Policy"]
    kind.create(clients, arn, first)
    kind.update(clients, arn, {**first, "tags": {"owner": "captains"}})
    versions = clients.iam.list_policy_versions(PolicyArn=arn)["Versions"]
    kind.delete(clients, arn)
    assert [version["VersionId"] for version in versions] == ["v1"]


def test_an_attached_policy_is_a_part_of_its_role_until_it_is_taken_off(clients: Clients) -> None:
    role, attachment = kind_of("aws:iam/role:Role"), kind_of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    own = kind_of("aws:iam/policy:Policy")
    wanted = {"role": "harbour-ships", "policyArn": _POLICY_ARN}
    identifier, _ = attachment.identify(ACCOUNT, "any", wanted)
    own.create(clients, _POLICY_ARN, CHANGES["aws:iam/policy:Policy"][1])
    role.create(clients, "harbour-ships", {"assumeRolePolicy": _TRUST})
    assert attachment.read(clients, identifier) is None
    attachment.create(clients, identifier, wanted)
    assert attachment.read(clients, identifier) == wanted
    parts = [*role.parts(clients, "harbour-ships")]
    attachment.delete(clients, identifier)
    assert parts == [("aws:iam/rolePolicyAttachment:RolePolicyAttachment", identifier)]
    assert attachment.read(clients, identifier) is None
    role.delete(clients, "harbour-ships")
    own.delete(clients, _POLICY_ARN)


def test_an_audience_is_changed_by_making_the_provider_anew(clients: Clients) -> None:
    type_ = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
    kind, (arn, first, _) = kind_of(type_), CHANGES[type_]
    kind.create(clients, arn, first)
    kind.update(clients, arn, {**first, "clientIdLists": ["another"]})
    found = kind.read(clients, arn)
    kind.delete(clients, arn)
    assert found is not None
    assert found["clientIdLists"] == ["another"]


def test_a_service_that_no_client_was_given_for_is_named() -> None:
    clients = Clients(s3=_Refusing(), iam=_Refusing())  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="no client of ecr"):
        kind_of("aws:ecr/repository:Repository").read(clients, "harbour/gulls")
