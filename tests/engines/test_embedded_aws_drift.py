"""With everything switched on: made once, compared with what somebody did by hand, adopted, killed, and taken away."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import embedded
from infra.embedded import clients_of
from infra.kinds import Clients
from tests.support.catalogues import text
from tests.support.embedded import embedded_aws
from trimtab.emulation import aws

BUCKET = "harbour-charts-dev"
EVERYTHING: dict[str, Any] = {
    "bucket__kms_key": "arn:aws:kms:eu-north-1:111122223333:key/12345678-1234-1234-1234-123456789012",
    "bucket__cold": {"results/": {"after_days": 30, "tier": "STANDARD_IA"}},
    "bucket__old_versions": {"datasets/": 90},
    "bucket__access_logs": {"bucket": "harbour-logs", "prefix": "charts/"},
    "github": {"repository": "harbour/charts", "branch": "main"},
    "registry": {"kind": "ecr", "keep": 5},
    "aws__monthly_budget": {"usd": 100.0, "alerts": ["pilots@example.com"]},
    "modal__session": "2h",
}
RESOURCES = 20
_EVERYTHING_ALLOWED = {"Effect": "Allow", "Action": "*", "Resource": "*"}


class Shell:
    """Calls the verbs on a catalogue and an embedded AWS of its own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.catalogue = folder / "trimtab.yaml"
        self.state_dir = folder / "aws"
        self._capture = capture
        self.declare()

    def declare(self, **changes: Any) -> None:
        """Write the catalogue."""
        self.catalogue.write_text(text(**{**EVERYTHING, **changes}))

    def words(self, verb: str, *options: str) -> list[str]:
        """Return the words of a command."""
        return [verb, "--catalogue", str(self.catalogue), "--state-dir", str(self.state_dir), *options]

    def run(self, verb: str, *options: str, code: int = 0) -> dict[str, Any]:
        """Run a verb, and return what it answers."""
        assert embedded.main(self.words(verb, "--json", *options)) == code
        document: dict[str, Any] = json.loads(self._capture.readouterr().out)
        return document

    def printed(self, verb: str, *options: str) -> str:
        """Run a verb, and return what a person reads."""
        assert embedded.main(self.words(verb, *options)) == 0
        return self._capture.readouterr().out

    @property
    def clients(self) -> Clients:
        """The operator's."""
        running = aws.status(self.state_dir)
        assert running is not None
        return clients_of(running, region="eu-north-1")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    shell = Shell(tmp_path, capsys)
    with embedded_aws(shell.state_dir):
        yield shell


@pytest.fixture
def up(shell: Shell) -> Shell:
    shell.run("up")
    return shell


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("standing")
    with embedded_aws(folder / "aws"):
        yield folder


@pytest.fixture
def standing(folder: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return a stack that the tests share, since each of them leaves it as it is declared."""
    shell = Shell(folder, capsys)
    shell.run("up")
    return shell


def names(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["action"], change["name"]) for change in document["changes"]]


def role(clients: Clients, name: str) -> str:
    found: str = next(r["RoleName"] for r in clients.iam.list_roles()["Roles"] if r["RoleName"].startswith(name))
    return found


def widen_policy(clients: Clients) -> None:
    name = role(clients, "modal-tides")
    (policy,) = clients.iam.list_role_policies(RoleName=name)["PolicyNames"]
    document = clients.iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    document["Statement"][1]["Resource"] = f"arn:aws:s3:::{BUCKET}/*"
    clients.iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))


def add_policy(clients: Clients) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [_EVERYTHING_ALLOWED]})
    clients.iam.put_role_policy(RoleName=role(clients, "modal-tides"), PolicyName="mine", PolicyDocument=document)


def attach_policy(clients: Clients) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [_EVERYTHING_ALLOWED]})
    arn = clients.iam.create_policy(PolicyName="theirs", PolicyDocument=document)["Policy"]["Arn"]
    clients.iam.attach_role_policy(RoleName=role(clients, "modal-tides"), PolicyArn=arn)


def loosen_trust(clients: Clients) -> None:
    name = role(clients, "github-deployment")
    trust = clients.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    trust["Statement"][0]["Condition"] = {}
    clients.iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))


def lengthen_session(clients: Clients) -> None:
    clients.iam.update_role(RoleName=role(clients, "modal-tides"), MaxSessionDuration=43200)


def drop_boundary(clients: Clients) -> None:
    clients.iam.delete_role_permissions_boundary(RoleName=role(clients, "modal-tides"))


def widen_boundary(clients: Clients) -> None:
    arn = "arn:aws:iam::123456789012:policy/harbour/dev/job-boundary"
    document = json.dumps({"Version": "2012-10-17", "Statement": [_EVERYTHING_ALLOWED]})
    clients.iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)


def drop_tag(clients: Clients) -> None:
    clients.s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": []})


def suspend_versions(clients: Clients) -> None:
    clients.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})


def weaken_encryption(clients: Clients) -> None:
    rule: Any = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    clients.s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})


def stop_logs(clients: Clients) -> None:
    clients.s3.put_bucket_logging(Bucket=BUCKET, BucketLoggingStatus={})


def let_tags_move(clients: Clients) -> None:
    clients.other("ecr").put_image_tag_mutability(repositoryName="harbour/dev/gulls", imageTagMutability="MUTABLE")


def drop_budget(clients: Clients) -> None:
    clients.other("budgets").delete_budget(AccountId="123456789012", BudgetName="harbour-dev")


def add_audience(clients: Clients) -> None:
    arn = "arn:aws:iam::123456789012:oidc-provider/oidc.modal.com"
    clients.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    clients.iam.create_open_id_connect_provider(Url="https://oidc.modal.com", ClientIDList=["somebody"])


@pytest.mark.parametrize(
    ("by_hand", "resource", "said"),
    [
        (widen_policy, "modal-tides-access", "policy.Statement[ReadData].Resource: declared"),
        (add_policy, "(not declared)", ":mine) is there, and not declared"),
        (attach_policy, "(not declared)", "policy/theirs) is there, and not declared"),
        (loosen_trust, "github-deployment", "assumeRolePolicy.Statement["),
        (lengthen_session, "modal-tides", "maxSessionDuration: declared 7200, there is 43200"),
        (drop_boundary, "modal-tides", "there is nothing"),
        (widen_boundary, "github-job-boundary", "policy.Statement"),
        (drop_tag, "data-bucket", 'tags.owner: declared "pilots", there is nothing'),
        (suspend_versions, "data-versioning", 'declared "Enabled", there is "Suspended"'),
        (weaken_encryption, "data-encryption", "aws:kms"),
        (stop_logs, "data-access-logs", "is declared, and not there"),
        (let_tags_move, "images-gulls", 'imageTagMutability: declared "IMMUTABLE", there is "MUTABLE"'),
        (drop_budget, "budget-costs", "is declared, and not there"),
        (add_audience, "modal-provider", "somebody"),
    ],
)
def test_what_was_changed_by_hand_is_found_said_left_as_it_is_and_mended_by_up(
    standing: Shell, by_hand: Callable[[Clients], None], resource: str, said: str
) -> None:
    by_hand(standing.clients)
    drift = standing.run("drift", code=5)
    assert [change["name"] for change in drift["changes"]] == [resource]
    assert said in drift["error"]["why"]
    assert standing.run("up")["changes"] == drift["changes"]
    assert standing.run("drift")["changes"] == []


def test_with_everything_on_a_second_up_changes_nothing_and_destroy_goes_backwards(up: Shell) -> None:
    again = up.run("up")
    assert again["changes"] == []
    gone = up.run("destroy")
    assert len(gone["changes"]) == RESOURCES
    clients = up.clients
    assert clients.s3.list_buckets()["Buckets"] == []
    assert clients.iam.list_roles()["Roles"] == []
    assert clients.other("ecr").describe_repositories()["repositories"] == []
    assert clients.iam.list_policies(Scope="Local")["Policies"] == []


def test_what_is_switched_off_again_goes_and_the_rest_changes_in_place(up: Shell) -> None:
    up.catalogue.write_text(text())
    changed = names(up.run("up"))
    assert ("delete", "budget-costs") in changed
    assert ("delete", "images-gulls") in changed
    assert ("update", "modal-tides") in changed
    assert ("update", "data-encryption") in changed
    assert up.run("up")["changes"] == []


@pytest.mark.parametrize(
    ("changes", "updated"),
    [
        ({"registry": {"kind": "ecr", "keep": 9}}, {"images-gulls-lifecycle"}),
        ({"aws__monthly_budget": {"usd": 50.0, "alerts": ["pilots@example.com"]}}, {"budget-costs"}),
        ({"bucket__access_logs": {"bucket": "harbour-logs", "prefix": "x/"}}, {"data-access-logs"}),
        ({"modal__session": "3h"}, {"modal-tides"}),
    ],
)
def test_each_part_is_changed_in_place(standing: Shell, changes: dict[str, Any], updated: set[str]) -> None:
    standing.declare(**changes)
    done = names(standing.run("up"))
    assert {name for action, name in done if action == "update"} >= updated
    assert {action for action, _ in done} == {"update"}
    assert standing.run("up")["changes"] == []


@pytest.mark.parametrize("held", [3, 12, 19])
def test_killed_half_way_with_everything_on_the_next_up_finishes(shell: Shell, root: Path, held: int) -> None:
    file = shell.state_dir / "stack-dev.json"
    argv = [sys.executable, "-m", "infra.embedded", *shell.words("up")]
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not (file.exists() and len(json.loads(file.read_text())["held"]) >= held):
            pass  # a resource takes 5 ms: sleeping would miss the moment
        running.kill()
    assert running.returncode == -9
    shell.run("up")
    assert shell.run("up")["changes"] == []


def test_a_bucket_that_stood_before_is_refused_by_up_and_adopted_by_import_with_its_data(shell: Shell) -> None:
    s3 = shell.clients.s3
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    s3.put_object(Bucket=BUCKET, Key="old", Body=b"kept")
    refused = shell.run("up", code=2)["error"]
    assert "trimtab infra import --embedded --resource data-bucket" in refused["next"]
    adopted = shell.run("import")
    assert ("update", "data-bucket") in names(adopted)
    assert s3.get_bucket_versioning(Bucket=BUCKET).get("Status") is None  # shown, and not yet done
    assert shell.run("up")["changes"] == adopted["changes"]
    assert s3.get_object(Bucket=BUCKET, Key="old")["Body"].read() == b"kept"
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert shell.run("import")["changes"] == []


@pytest.mark.parametrize(
    ("name", "what"), [("data-policy", "nothing that can be adopted"), ("data-bucket", "there is no harbour")]
)
def test_what_is_not_there_or_not_declared_is_not_adopted(shell: Shell, name: str, what: str) -> None:
    assert what in shell.run("import", "--resource", name, code=2)["error"]["what"]


def test_data_goes_only_when_the_bucket_s_name_was_said(up: Shell) -> None:
    s3 = up.clients.s3
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    assert "--confirm harbour-charts-dev" in up.run("destroy", code=2)["error"]["next"]
    assert "without its name" in up.run("destroy", "--with-data", code=2)["error"]["what"]
    assert "without its name" in up.run("destroy", "--with-data", "--confirm", "harbour", code=2)["error"]["what"]
    assert len(up.run("destroy", "--with-data", "--dry-run")["changes"]) == RESOURCES
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"x"
    up.run("destroy", "--with-data", "--confirm", BUCKET)
    assert s3.list_buckets()["Buckets"] == []


def test_outputs_as_variables_need_no_quotes_and_name_each_role(standing: Shell) -> None:
    variables = dict(line.split("=", 1) for line in standing.printed("outputs", "--env").splitlines())
    assert variables.items() >= {"TRIMTAB_BUCKET": BUCKET, "TRIMTAB_REGION": "eu-north-1"}.items()
    assert ":role/" in variables["TRIMTAB_ROLE_TIDES"]
    assert ":role/" in variables["TRIMTAB_GITHUB_ROLE_ARN_DEPLOYMENT"]
    assert all(value == shlex.quote(value) for value in variables.values())  # $GITHUB_ENV takes quotes for letters


def test_a_stack_that_was_never_up_has_not_drifted_but_is_missing(shell: Shell) -> None:
    shell.run("drift", code=3)


def test_a_provider_that_stood_before_on_aws_is_made_here_and_that_is_said(shell: Shell) -> None:
    shell.declare(modal__provider_arn="arn:aws:iam::111122223333:oidc-provider/oidc.modal.com")
    assert any(note.startswith("modal.provider_arn") for note in shell.run("up")["notes"])
