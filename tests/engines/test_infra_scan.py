"""What the program declares, before a scanner that knows nothing of us: checkov, on the export of production stacks.

checkov has no rule on TLS. tests/iam/ has: without TLS, everybody is denied, and a policy that lost that is noticed.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.embedded import record_stack
from infra.export import terraform_of
from tests.support.worlds import WORLDS, everything
from trimtab.catalogue import load_catalogue

Documents = Mapping[str, Mapping[str, Any]]
Findings = set[tuple[str, str, str]]
STAR = {"Sid": "Star", "Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture(scope="module")
def scan(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Documents], Findings]:
    """Return what scans documents, each as a configuration of its own: its name, rule and resource for each finding."""
    tool = root / ".trimtab" / "tools" / "checkov"
    if not (tool / "trimtab.lock").is_file():
        pytest.skip("checkov is not installed: run scripts/setup-scanner (it needs the package index)")

    def scan_all(documents: Documents) -> Findings:
        folder = tmp_path_factory.mktemp("scan")
        for name, document in documents.items():
            (folder / name).mkdir()
            (folder / name / "stack.tf.json").write_text(json.dumps(document))
        # Offline: without --skip-download it asks its maker for more about the rules.
        done = subprocess.run(
            [tool / "bin" / "checkov", "--directory", folder, "--framework", "terraform_json", "--output", "json",
             "--quiet", "--skip-download"],
            capture_output=True, text=True, check=False, timeout=240,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        assert report["summary"]["parsing_errors"] == 0
        assert report["summary"]["passed"] > 20
        return {
            (found["file_path"].split("/")[1], found["check_id"], found["resource"])
            for found in report["results"]["failed_checks"]
        }

    return scan_all


def test_production_stacks_have_no_finding_but_those_that_we_let_stand(
    root: Path, scan: Callable[[Documents], Findings]
) -> None:
    catalogues = {"ours": load_catalogue(root / "trimtab.yaml"), **{world: everything(world) for world in WORLDS}}
    findings = scan({name: terraform_of(record_stack(catalogue, "prod")) for name, catalogue in catalogues.items()})
    found = {(rule, resource) for _, rule, resource in findings}
    exceptions = yaml.safe_load((root / "infra" / "scan_exceptions.yaml").read_text())
    let_stand = {(rule, resource) for rule, exception in exceptions.items() for resource in exception["resources"]}
    assert found - let_stand == set(), "mend the program, or say in infra/scan_exceptions.yaml why it may stand"
    assert let_stand - found == set(), "these exceptions are not needed any more: take them out"
    assert all(len(exception["why"]) > 40 for exception in exceptions.values())


def test_the_scanner_sees_what_it_is_there_for(scan: Callable[[Documents], Findings]) -> None:
    """Each fault, put into the export, is found: that none is found above means something."""
    whole = terraform_of(record_stack(everything("kms"), "prod"))

    def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        document = copy.deepcopy(whole)
        change(document["resource"])
        return document

    def policy(statement: Mapping[str, Any]) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    anybody = {**STAR, "Principal": "*", "Action": "s3:GetObject"}
    faults: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
        "public-access": ("CKV2_AWS_6", lambda r: r.pop("aws_s3_bucket_public_access_block")),
        "unversioned": ("CKV_AWS_21", lambda r: r.pop("aws_s3_bucket_versioning")),
        "unencrypted": ("CKV_AWS_145", lambda r: r.pop("aws_s3_bucket_server_side_encryption_configuration")),
        "lifeless": ("CKV2_AWS_61", lambda r: r.pop("aws_s3_bucket_lifecycle_configuration")),
        "unlogged": ("CKV_AWS_18", lambda r: r.pop("aws_s3_bucket_logging")),
        "any-principal": (
            "CKV_AWS_70",
            lambda r: r["aws_s3_bucket_policy"]["data-policy"].update(policy=policy(anybody)),
        ),
        "any-action": (
            "CKV_AWS_63",
            lambda r: r["aws_iam_role_policy"]["modal-tides-access"].update(policy=policy(STAR)),
        ),
        "any-workflow": (
            "CKV_AWS_393",
            lambda r: r["aws_iam_role"]["github-deployment"].update(
                assume_role_policy=r["aws_iam_role"]["github-deployment"]["assume_role_policy"].replace(
                    "repo:harbour/charts:environment:production", "repo:*"
                )
            ),
        ),
        "movable-tags": (
            "CKV_AWS_51",
            lambda r: r["aws_ecr_repository"]["images-gulls"].update(image_tag_mutability="MUTABLE"),
        ),
    }
    found = scan({"whole": whole, **{name: broken(change) for name, (_, change) in faults.items()}})
    rules = {(name, rule) for name, rule, _ in found}
    assert [name for name, (rule, _) in faults.items() if (name, rule) not in rules] == []
    assert [rule for rule, _ in faults.values() if ("whole", rule) in rules] == []
