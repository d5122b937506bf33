"""What `pulumi import` is told about a bucket that stands, read from an embedded AWS by the same calls as from AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.adoption import import_document, provider_urn
from infra.embedded import clients_of, record_stack
from infra.kinds import Clients
from tests.support.catalogues import catalogue
from tests.support.embedded import embedded_aws
from trimtab.errors import UsageError

BUCKET = "harbour-charts-dev"
PROVIDER = {"urn": "urn:pulumi:dev::trimtab::pulumi:providers:aws::aws", "type": "pulumi:providers:aws"}
DEFAULT = {"urn": "urn:pulumi:dev::trimtab::pulumi:providers:aws::default_7_51_0", "type": "pulumi:providers:aws"}
COMPONENT = {"urn": "urn:pulumi:dev::trimtab::trimtab:infra:DataBucket::data", "type": "trimtab:infra:DataBucket"}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder: Path = tmp_path_factory.mktemp("aws")
    with embedded_aws(folder) as running:
        clients = clients_of(running, region="eu-north-1")
        clients.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        clients.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield clients


def state(*resources: dict[str, str]) -> dict[str, Any]:
    return {"deployment": {"resources": list(resources)}}


def document(clients: Clients, *resources: dict[str, str], names: tuple[str, ...] = ("data-bucket",)) -> dict[str, Any]:
    return import_document(names, record_stack(catalogue(), "dev"), state(*resources), clients)


def test_the_bucket_comes_with_the_settings_that_it_has_and_no_others(clients: Clients) -> None:
    imported = {item["name"]: item for item in document(clients, PROVIDER)["resources"]}
    assert imported.keys() >= {"data", "data-bucket", "data-versioning"}
    assert not imported.keys() & {"data-policy", "data-lifecycle", "data-public-access"}
    assert imported["data"] == {"type": "trimtab:infra:DataBucket", "name": "data", "component": True}
    assert imported["data-bucket"] == {
        "type": "aws:s3/bucket:Bucket",
        "name": "data-bucket",
        "id": BUCKET,
        "parent": "data",
        "provider": "aws",
    }


def test_a_component_and_a_resource_that_the_state_has_are_not_taken_in_twice(clients: Clients) -> None:
    bucket = {"urn": f"{COMPONENT['urn'].replace('::data', '$aws:s3/bucket:Bucket::data-bucket')}", "type": "x"}
    made = document(clients, PROVIDER, COMPONENT, bucket)
    assert made["nameTable"] == {"aws": PROVIDER["urn"], "data": COMPONENT["urn"]}
    assert "data" not in {item["name"] for item in made["resources"]}
    assert "data-bucket" not in {item["name"] for item in made["resources"]}


def test_the_provider_is_the_program_s_own_and_never_a_default_one() -> None:
    assert provider_urn(state(DEFAULT, PROVIDER)) == PROVIDER["urn"]
    assert provider_urn(state(DEFAULT)) is None


@pytest.mark.parametrize(
    ("name", "what"), [("data-policy", "nothing that can be adopted"), ("modal-provider", "to adopt")]
)
def test_what_cannot_be_adopted_is_refused_before_pulumi_is_asked(clients: Clients, name: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        document(clients, PROVIDER, names=(name,))
