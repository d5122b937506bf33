"""The export has every resource and policy of the stack, in Terraform's words, with references between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.embedded import record_stack
from infra.export import main, terraform_of
from tests.support.worlds import WORLDS, everything, everything_text


@pytest.mark.parametrize("world", WORLDS)
def test_every_resource_is_there_once_under_terraform_s_name_of_its_type(world: str) -> None:
    graph = record_stack(everything(world), "prod")
    exported = terraform_of(graph)["resource"]
    names = [name for resources in exported.values() for name in resources]
    assert sorted(names) == sorted(r.name for r in graph.resources if r.custom and r.name != "aws")
    assert {*exported} == {
        "aws_budgets_budget",
        "aws_ecr_lifecycle_policy",
        "aws_ecr_repository",
        "aws_iam_openid_connect_provider",
        "aws_iam_policy",
        "aws_iam_role",
        "aws_iam_role_policy",
        "aws_s3_bucket",
        "aws_s3_bucket_lifecycle_configuration",
        "aws_s3_bucket_logging",
        "aws_s3_bucket_ownership_controls",
        "aws_s3_bucket_policy",
        "aws_s3_bucket_public_access_block",
        "aws_s3_bucket_server_side_encryption_configuration",
        "aws_s3_bucket_versioning",
    }


def test_fields_are_spelled_as_terraform_does_and_tags_as_they_are() -> None:
    exported = terraform_of(record_stack(everything("kms"), "prod"))["resource"]
    (rule,) = exported["aws_s3_bucket_server_side_encryption_configuration"]["data-encryption"]["rule"]
    assert rule["bucket_key_enabled"] is True
    assert rule["apply_server_side_encryption_by_default"].keys() == {"kms_master_key_id", "sse_algorithm"}
    rules = exported["aws_s3_bucket_lifecycle_configuration"]["data-lifecycle"]["rule"]
    assert {"days": 180, "storage_class": "DEEP_ARCHIVE"} in [t for r in rules for t in r.get("transition", ())]
    assert exported["aws_iam_openid_connect_provider"]["modal-provider"]["client_id_list"] == ["oidc.modal.com"]
    assert len(exported["aws_budgets_budget"]["budget-costs"]["notification"]) == 2
    assert exported["aws_s3_bucket"]["data-bucket"]["tags"]["project"] == "harbour"


def test_what_names_another_resource_refers_to_it_and_a_bucket_s_settings_to_the_bucket() -> None:
    exported = terraform_of(record_stack(everything("kms"), "prod"))["resource"]
    for type_, resources in exported.items():
        for fields in resources.values():
            if type_.startswith("aws_s3_bucket_"):
                assert fields["bucket"] == "${aws_s3_bucket.data-bucket.id}"
    assert exported["aws_iam_role_policy"]["modal-tides-access"]["role"] == "${aws_iam_role.modal-tides.id}"
    boundary = exported["aws_iam_role"]["modal-tides"]["permissions_boundary"]
    assert boundary == "${aws_iam_policy.github-job-boundary.id}"


def test_every_policy_is_there_as_data_statement_by_statement() -> None:
    graph = record_stack(everything("kms"), "prod")
    documents = terraform_of(graph)["data"]["aws_iam_policy_document"]
    for resource in graph.resources:
        for key in ("policy", "assumeRolePolicy"):
            if key in resource.inputs and not resource.type.startswith("aws:ecr/"):
                statements = json.loads(resource.inputs[key])["Statement"]
                exported = documents[resource.name]["statement"]
                assert [s["sid"] for s in exported] == [s["Sid"] for s in statements]
    tls = documents["data-policy"]["statement"][0]
    assert tls == {
        "sid": "TlsOnly",
        "effect": "Deny",
        "actions": ["s3:*"],
        "resources": ["arn:aws:s3:::harbour-charts-prod", "arn:aws:s3:::harbour-charts-prod/*"],
        "principals": [{"type": "*", "identifiers": ["*"]}],
        "condition": [{"test": "Bool", "variable": "aws:SecureTransport", "values": ["false"]}],
    }


def test_the_command_prints_the_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trimtab.yaml").write_text(everything_text("s3"))
    assert main(["--catalogue", str(tmp_path / "trimtab.yaml"), "--stack", "prod"]) == 0
    assert json.loads(capsys.readouterr().out) == terraform_of(record_stack(everything("s3"), "prod"))


def test_a_wrong_catalogue_is_exit_2_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--catalogue", str(tmp_path / "absent.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
