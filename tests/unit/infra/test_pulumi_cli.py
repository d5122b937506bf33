"""The real path, with a runner that records and answers as Pulumi would: order, refusals, and one shape of result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.embedded import record_stack
from infra.kinds import Clients
from infra.pulumi_cli import PulumiStack, changes_of_preview, main
from infra.pulumi_setup import require_environment
from tests.support.catalogues import catalogue
from tests.support.fake_s3 import FakeS3
from trimtab.errors import UsageError
from trimtab.process import Command, Completed

READY = {"PULUMI_BACKEND_URL": "file:///somewhere", "PULUMI_CONFIG_PASSPHRASE": "a passphrase"}
BUCKET = {
    "urn": "urn:pulumi:dev::trimtab::trimtab:infra:DataBucket$aws:s3/bucket:Bucket::data-bucket",
    "type": "aws:s3/bucket:Bucket",
    "id": "harbour-charts-dev",
    "custom": True,
}
STACK = {"urn": "urn:pulumi:dev::trimtab::pulumi:pulumi:Stack::trimtab-dev", "type": "pulumi:pulumi:Stack"}
PROVIDER = {"urn": "urn:x::aws", "type": "pulumi:providers:aws", "custom": True}
OUTPUTS = {"bucket": "harbour-charts-dev", "modal_role_arns": {"tides": "arn:aws:iam::1:role/modal-tides-1a2b3c4"}}


class RecordingRunner:
    """Answers each Pulumi command with what was prepared for its verb, and keeps the command."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {
            "select": "", "up": "updated\n", "destroy": "destroyed\n", "import": "imported\n",
            "refresh": {"steps": []}, **answers,
        }  # fmt: skip
        self.commands: list[Command] = []

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None) -> Completed:  # noqa: ARG002 - a Runner has it
        """Record the command; nothing is said on standard error, so `on_line` stays silent."""
        self.commands.append(command)
        verb = command.argv[2] if command.argv[1] == "stack" else command.argv[1]
        answer = self._answers[verb]
        return Completed(stdout=answer if isinstance(answer, str) else json.dumps(answer), wall_s=0.0)

    @property
    def verbs(self) -> list[str]:
        return [c.argv[2] if c.argv[1] == "stack" else c.argv[1] for c in self.commands]


def pulumi_stack(runner: RecordingRunner, *, versions: int = 0) -> PulumiStack:
    clients: Any = Clients(s3=FakeS3(versions), iam=None)  # type: ignore[arg-type]  # as far as these tests go
    return PulumiStack(
        program="/opt/pulumi/bin/pulumi",
        stack="dev",
        catalogue_path=Path("trimtab.yaml"),
        runner=runner,
        clients=lambda: clients,
        graph=lambda: record_stack(catalogue(), "dev"),
        say=print,
    )


def test_up_previews_applies_and_reads_the_outputs() -> None:
    runner = RecordingRunner(preview={"steps": [{"op": "create", "newState": BUCKET, **BUCKET}]}, output=OUTPUTS)
    outcome = pulumi_stack(runner).up()
    assert runner.verbs == ["select", "refresh", "preview", "up", "output"]
    document = outcome.as_document()
    assert document.keys() == {"stack", "engine", "endpoint_url", "changes", "outputs", "notes"}
    assert document["outputs"] == OUTPUTS
    assert [change["action"] for change in document["changes"]] == ["create"]


def test_a_change_has_the_fields_that_the_embedded_engine_gives() -> None:
    old = {**BUCKET, "inputs": {"tags": {"owner": "pilots"}}}
    new = {**BUCKET, "inputs": {"tags": {"owner": "captains"}}}
    step = {"op": "update", "urn": BUCKET["urn"], "oldState": old, "newState": new, "diffReasons": ["tags"]}
    assert changes_of_preview([step]) == [
        {
            "action": "update",
            "type": "aws:s3/bucket:Bucket",
            "name": "data-bucket",
            "id": "harbour-charts-dev",
            "fields": ["tags"],
            "differences": [{"field": "tags.owner", "declared": "captains", "there": "pilots"}],
        }
    ]


def test_what_stays_and_what_only_groups_is_no_change() -> None:
    steps: list[dict[str, Any]] = [
        {"op": "same", "urn": BUCKET["urn"], "newState": BUCKET},
        {"op": "create", "urn": STACK["urn"], "newState": STACK},
        {"op": "create", "urn": PROVIDER["urn"], "newState": PROVIDER},
        {"op": "replace", "urn": BUCKET["urn"], "newState": BUCKET},
    ]
    assert changes_of_preview(steps) == []


def test_no_secret_is_in_any_command_and_the_catalogue_travels_by_environment() -> None:
    runner = RecordingRunner(preview={"steps": []}, output=OUTPUTS, export={"deployment": {}})
    stack = pulumi_stack(runner)
    stack.up()
    stack.destroy(with_data=False)
    for command in runner.commands:
        assert "passphrase" not in " ".join(command.argv).replace("--secrets-provider passphrase", "")
        assert command.env["TRIMTAB_CATALOGUE"] == str(Path("trimtab.yaml").absolute())
        assert str(command.env["PATH"]).startswith("/opt/pulumi/bin:")


def test_destroy_refuses_what_is_protected_before_anything_is_changed() -> None:
    runner = RecordingRunner(export={"deployment": {"resources": [STACK, {**BUCKET, "protect": True}]}})
    with pytest.raises(UsageError, match="is protected"):
        pulumi_stack(runner, versions=1).destroy(with_data=True)
    assert runner.verbs == ["export"]


def test_destroy_refuses_a_bucket_that_holds_data_and_names_the_remedy() -> None:
    runner = RecordingRunner(export={"deployment": {"resources": [BUCKET]}})
    with pytest.raises(UsageError, match="not empty") as refused:
        pulumi_stack(runner, versions=3).destroy(with_data=False)
    assert "--with-data" in refused.value.remedy
    assert runner.verbs == ["export"]


def test_destroy_with_data_empties_the_bucket_first() -> None:
    runner = RecordingRunner(export={"deployment": {"resources": [STACK, PROVIDER, BUCKET]}})
    stack = pulumi_stack(runner, versions=3)
    outcome = stack.destroy(with_data=True, confirmed=["harbour-charts-dev"])
    assert runner.verbs == ["export", "destroy"]
    assert [change["id"] for change in outcome.changes or ()] == ["harbour-charts-dev"]
    assert stack.clients().s3.list_object_versions(Bucket="harbour-charts-dev")["Versions"] == []


def test_data_is_not_deleted_without_the_bucket_s_name() -> None:
    runner = RecordingRunner(export={"deployment": {"resources": [STACK, PROVIDER, BUCKET]}})
    for confirmed in ([], ["harbour-charts-prod"]):
        with pytest.raises(UsageError, match="without its name") as refused:
            pulumi_stack(runner, versions=3).destroy(with_data=True, confirmed=confirmed)
        assert "--confirm harbour-charts-dev" in refused.value.remedy
    assert "destroy" not in runner.verbs


def test_a_dry_run_of_destroy_lists_what_would_go_and_keeps_it() -> None:
    runner = RecordingRunner(export={"deployment": {"resources": [STACK, PROVIDER, BUCKET]}})
    outcome = pulumi_stack(runner, versions=3).destroy(with_data=True, dry_run=True)
    assert [change["id"] for change in outcome.changes or ()] == ["harbour-charts-dev"]
    assert runner.verbs == ["export"]


def test_drift_says_what_pulumi_found_and_is_a_failure_with_5() -> None:
    policy = {**BUCKET, "urn": "urn:x::data-policy", "type": "aws:s3/bucketPolicy:BucketPolicy"}
    narrow, wide = ({"policy": json.dumps({"Statement": [{"Sid": "Tls", "Effect": e}]})} for e in ("Deny", "Allow"))
    runner = RecordingRunner(
        refresh={
            "steps": [
                {"op": "refresh", "urn": STACK["urn"], "newState": STACK},
                {
                    "op": "update",
                    "urn": policy["urn"],
                    "oldState": {**policy, "outputs": narrow},
                    "newState": {**policy, "outputs": wide},
                    "detailedDiff": {"policy": {"kind": "update"}},
                },
                {"op": "delete", "urn": BUCKET["urn"], "oldState": BUCKET},
            ]
        },
        preview={"steps": []},
    )
    failure = pulumi_stack(runner).drift().failure
    assert failure is not None
    assert failure.exit_code == 5
    assert 'policy.Statement[Tls].Effect: declared "Deny", there is "Allow"' in failure.why
    assert "data-bucket (harbour-charts-dev) is declared, and not there" in failure.why
    assert runner.verbs == ["select", "refresh", "preview"]


def test_without_drift_there_is_no_failure() -> None:
    assert pulumi_stack(RecordingRunner(preview={"steps": []})).drift().failure is None


@pytest.mark.parametrize(
    ("missing", "what"),
    [("PULUMI_BACKEND_URL", "place for its state"), ("PULUMI_CONFIG_PASSPHRASE", "passphrase")],
)
def test_without_a_backend_or_a_passphrase_nothing_is_called(missing: str, what: str) -> None:
    def never() -> bool:
        raise AssertionError("the credentials were looked for")

    environment = {key: value for key, value in READY.items() if key != missing}
    with pytest.raises(UsageError, match=what) as refused:
        require_environment(environment, verb="up", has_credentials=never)
    assert refused.value.exit_code == 2
    assert missing in refused.value.why


def test_a_passphrase_file_serves_as_well() -> None:
    environment = {"PULUMI_BACKEND_URL": "file:///x", "PULUMI_CONFIG_PASSPHRASE_FILE": "/run/secrets/passphrase"}
    require_environment(environment, verb="up", has_credentials=lambda: True)


@pytest.mark.parametrize("verb", ["preview", "up", "destroy"])
def test_without_aws_credentials_nothing_is_called(verb: str) -> None:
    with pytest.raises(UsageError, match="no AWS credentials"):
        require_environment(READY, verb=verb, has_credentials=lambda: False)


def test_outputs_need_credentials_only_where_the_state_lies_in_s3() -> None:
    require_environment(READY, verb="outputs", has_credentials=lambda: False)
    in_s3 = {**READY, "PULUMI_BACKEND_URL": "s3://state"}
    with pytest.raises(UsageError, match="no AWS credentials"):
        require_environment(in_s3, verb="outputs", has_credentials=lambda: False)


def test_the_program_says_what_is_missing_as_json_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    assert main(["up", "--json", "--catalogue", str(root / "trimtab.yaml")]) == 2
    assert json.loads(capsys.readouterr().out)["error"].keys() == {"what", "why", "next", "exit"}
