"""`python -m infra.embedded` as a person calls it: up, again, changed, killed half-way, its server lost, destroyed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra import embedded, engine
from infra.embedded import record_stack
from infra.kinds import Clients, kind_of
from infra.kinds.s3 import empty
from infra.stack_state import StackState, StateFile
from tests.support.catalogues import catalogue, text
from tests.support.embedded import embedded_aws
from trimtab.emulation import aws

BUCKET = "harbour-charts-dev"
RESOURCES = 10


@dataclass(frozen=True)
class Shell:
    """Calls the verbs on a state folder and a catalogue, in this process: importing Pulumi takes a second each time."""

    root: Path
    folder: Path
    state_dir: Path
    capture: pytest.CaptureFixture[str]

    def declare(self, **changes: Any) -> None:
        (self.folder / "trimtab.yaml").write_text(text(**changes))

    def arguments(self, verb: str, *options: str) -> list[str]:
        where = ["--catalogue", str(self.folder / "trimtab.yaml"), "--state-dir", str(self.state_dir)]
        return [verb, *where, "--json", *options]

    def run(self, verb: str, *options: str, exit_code: int = 0) -> dict[str, Any]:
        code = embedded.main(self.arguments(verb, *options))
        printed = self.capture.readouterr()
        assert code == exit_code, printed.err
        document: dict[str, Any] = {**json.loads(printed.out), "stderr": printed.err}
        return document

    def clients(self) -> Clients:
        running = aws.status(self.state_dir)
        assert running is not None
        return Clients(s3=running.operator_client("s3", region="eu-north-1"), iam=running.operator_client("iam"))

    def clear(self) -> None:
        """Take away whatever a test left on the server, and what the state folder says of it."""
        if aws.status(self.state_dir) is None:
            return
        clients = self.clients()
        for bucket in clients.s3.list_buckets()["Buckets"]:
            empty(clients.s3, bucket["Name"])
            clients.s3.delete_bucket(Bucket=bucket["Name"])
        for role in clients.iam.list_roles()["Roles"]:
            for name in clients.iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
                clients.iam.delete_role_policy(RoleName=role["RoleName"], PolicyName=name)
            clients.iam.delete_role(RoleName=role["RoleName"])
        for provider in clients.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
            clients.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
        for path in self.state_dir.glob("stack-*"):
            path.unlink()


def actions(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["action"], change["name"]) for change in document["changes"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the state folder of a server that the tests share: starting one takes more than a second."""
    folder = tmp_path_factory.mktemp("aws")
    with embedded_aws(folder):
        yield folder


@pytest.fixture
def shell(root: Path, tmp_path: Path, server: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    shell = Shell(root, tmp_path, server, capsys)
    shell.declare()
    yield shell
    shell.clear()


@pytest.fixture
def fresh(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Return a shell where no server runs yet."""
    shell = Shell(root, tmp_path, tmp_path / "aws", capsys)
    shell.declare()
    yield shell
    aws.stop(shell.state_dir)


def test_preview_shows_everything_and_neither_starts_nor_writes_anything(fresh: Shell) -> None:
    document = fresh.run("preview")
    assert {action for action, _ in actions(document)} == {"create"}
    assert len(document["changes"]) == RESOURCES
    assert document["endpoint_url"] is None
    assert not fresh.state_dir.exists()


def test_up_makes_everything_and_a_second_up_changes_nothing_and_says_so(shell: Shell) -> None:
    first = shell.run("up")
    assert len(first["changes"]) == RESOURCES
    assert first["outputs"]["bucket"] == BUCKET
    assert first["outputs"]["modal_role_arns"]["tides"].startswith(
        "arn:aws:iam::123456789012:role/harbour/dev/jobs/modal-tides-"
    )
    second = shell.run("up")
    assert second["changes"] == []
    assert "nothing was changed" in second["stderr"]
    assert second["outputs"] == first["outputs"]
    assert shell.run("preview")["changes"] == []
    assert shell.run("outputs")["outputs"] == first["outputs"]


def test_the_bucket_is_what_was_declared(shell: Shell) -> None:
    shell.run("up")
    s3 = shell.clients().s3
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == "eu-north-1"
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    block = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert [rule["ID"] for rule in rules] == ["old-versions", "broken-uploads"]


def test_what_the_embedded_aws_does_not_evaluate_is_said_each_time(shell: Shell) -> None:
    for document in (shell.run("preview"), shell.run("up"), shell.run("up"), shell.run("outputs")):
        assert len(document["notes"]) == 4
        for note in document["notes"]:
            assert note in document["stderr"]


def test_a_change_in_the_catalogue_changes_that_and_in_place(shell: Shell) -> None:
    shell.run("up")
    shell.clients().s3.put_object(Bucket=BUCKET, Key="kept", Body=b"x")
    shell.declare(bucket__old_versions_days=5, owner="captains")
    previewed = shell.run("preview")
    changed = shell.run("up")
    assert actions(changed) == actions(previewed)
    assert {(action, name) for action, name in actions(changed)} == {
        ("update", "data-bucket"),
        ("update", "data-lifecycle"),
        ("update", "modal-provider"),
        ("update", "modal-tides"),
    }
    clients = shell.clients()
    assert clients.s3.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"x"
    tags = clients.s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]
    assert {"Key": "owner", "Value": "captains"} in tags
    assert shell.run("up")["changes"] == []


def test_what_left_the_catalogue_is_taken_away_last_made_first(shell: Shell) -> None:
    job = {"data": "datasets/winds/", "results": "results/winds/", "source": "training.winds.source"}
    shell.declare(jobs__winds={**job, "config": "configs/local/winds.yaml", "memory": "1GiB", "time": "1min"})
    shell.run("up")
    shell.declare()
    assert actions(shell.run("up")) == [("delete", "modal-winds-access"), ("delete", "modal-winds")]
    assert [role["RoleName"][:11] for role in shell.clients().iam.list_roles()["Roles"]] == ["modal-tides"]


def test_a_setting_that_somebody_changed_by_hand_is_mended(shell: Shell) -> None:
    shell.run("up")
    shell.clients().s3.delete_public_access_block(Bucket=BUCKET)
    shell.clients().s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    assert actions(shell.run("up")) == [("create", "data-public-access"), ("update", "data-versioning")]


def test_when_the_server_died_everything_is_made_again_and_that_is_said(fresh: Shell) -> None:
    first = fresh.run("up")
    running = aws.status(fresh.state_dir)
    assert running is not None
    os.kill(running.pid, 9)
    while aws.status(fresh.state_dir) is not None:
        time.sleep(0.02)
    fresh.run("outputs", exit_code=3)
    again = fresh.run("up")
    assert len(again["changes"]) == RESOURCES
    assert "started anew" in again["stderr"]
    assert again["outputs"] == first["outputs"]


@pytest.mark.parametrize("held", [1, 4, 9])
def test_killed_half_way_the_next_up_finishes(shell: Shell, held: int) -> None:
    """`held`: how many resources the state file names when the kill comes."""
    file = shell.state_dir / "stack-dev.json"
    argv = [sys.executable, "-m", "infra.embedded", *shell.arguments("up")]
    with subprocess.Popen(argv, cwd=shell.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
        while up.poll() is None and not (file.exists() and len(json.loads(file.read_text())["held"]) >= held):
            pass  # a resource takes 5 ms: sleeping would miss the moment
        up.kill()
    assert up.returncode == -9
    finished = shell.run("up")
    assert 0 < len(finished["changes"]) <= RESOURCES
    assert shell.run("up")["changes"] == []
    assert len(shell.run("destroy")["changes"]) == RESOURCES


def test_interrupted_at_any_step_of_making_or_destroying_the_next_run_finishes(shell: Shell) -> None:
    """The same at every point where the state is written, which is before and after every change."""

    class Killed(BaseException):
        pass

    def killing(save: Callable[[StackState], None], at: int) -> Callable[[StackState], None]:
        writes = iter(range(1000))

        def write(state: StackState) -> None:
            if next(writes) == at:
                raise Killed
            save(state)

        return write

    resources, _ = engine.declared(record_stack(catalogue(), "dev"))
    clients = shell.clients()
    file = StateFile(shell.folder, "dev")

    def bring_to(wanted: tuple[engine.Declared, ...], save: Callable[[StackState], None]) -> int:
        state = file.load("this server")
        changes = engine.plan_changes(wanted, state, clients)
        engine.apply(changes, state, clients, save=save, say=lambda _: None)
        return len(changes)

    for at in range(2 * RESOURCES):
        with pytest.raises(Killed):
            bring_to(resources, killing(file.save, at))
        bring_to(resources, file.save)
        assert bring_to(resources, file.save) == 0
        with pytest.raises(Killed):
            bring_to((), killing(file.save, at % RESOURCES))
        bring_to((), file.save)
        assert [kind_of(item.type).read(clients, item.id) for item in resources] == [None] * RESOURCES


def test_destroy_takes_everything_away_last_made_first(shell: Shell) -> None:
    made = [name for _, name in actions(shell.run("up"))]
    gone = shell.run("destroy")
    assert [name for _, name in actions(gone)] == made[::-1]
    clients = shell.clients()
    assert clients.s3.list_buckets()["Buckets"] == []
    assert clients.iam.list_roles()["Roles"] == []
    assert shell.run("destroy")["changes"] == []
    shell.run("outputs", exit_code=3)


def test_destroy_refuses_a_bucket_that_holds_data_and_changes_nothing(shell: Shell) -> None:
    shell.run("up")
    s3 = shell.clients().s3
    for key in ("a", "a", "b"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="b")
    refused = shell.run("destroy", exit_code=2)["error"]
    assert "not empty" in refused["what"]
    assert "--with-data" in refused["next"]
    assert shell.run("preview")["changes"] == []
    emptied = shell.run("destroy", "--with-data", "--confirm", BUCKET)
    assert "emptied harbour-charts-dev: 4 versions" in emptied["stderr"]
    assert shell.clients().s3.list_buckets()["Buckets"] == []


def test_a_renamed_bucket_is_not_left_behind_while_it_holds_data(shell: Shell) -> None:
    shell.run("up")
    shell.clients().s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    shell.declare(bucket__name="harbour-maps")
    refused = shell.run("up", exit_code=2)["error"]
    assert "harbour-charts-dev is not empty" in refused["what"]
    assert [bucket["Name"] for bucket in shell.clients().s3.list_buckets()["Buckets"]] == [BUCKET]


def test_an_empty_bucket_that_was_renamed_is_replaced(shell: Shell) -> None:
    shell.run("up")
    shell.declare(bucket__name="harbour-maps")
    shell.run("up")
    assert [bucket["Name"] for bucket in shell.clients().s3.list_buckets()["Buckets"]] == ["harbour-maps-dev"]


def test_prod_is_protected_even_when_it_is_empty_and_the_remedy_is_named(shell: Shell) -> None:
    shell.run("up", "--stack", "prod")
    refused = shell.run("destroy", "--with-data", "--stack", "prod", exit_code=2)["error"]
    assert "is protected" in refused["what"]
    assert "infra/data_bucket.py" in refused["next"]
    assert shell.run("preview", "--stack", "prod")["changes"] == []


def test_a_second_stack_does_not_take_over_what_the_first_made(shell: Shell) -> None:
    """One account has one identity provider for Modal; whose it is must not change by accident."""
    shell.run("up")
    refused = shell.run("up", "--stack", "prod", exit_code=2)["error"]
    assert "this stack did not make it" in refused["what"]
    assert shell.run("preview")["changes"] == []


def test_a_wrong_catalogue_or_stack_is_exit_2_before_anything_starts(fresh: Shell) -> None:
    (fresh.folder / "trimtab.yaml").write_text("project: only\n")
    fresh.run("up", exit_code=2)
    assert not fresh.state_dir.exists()
    with pytest.raises(SystemExit) as ended:
        embedded.main(fresh.arguments("up", "--stack", "staging"))
    assert ended.value.code == 2


def test_a_state_folder_that_cannot_be_one_is_said_with_its_path(fresh: Shell) -> None:
    fresh.state_dir.write_text("a file stands here")
    failed = fresh.run("up", exit_code=4)["error"]
    assert str(fresh.state_dir) in failed["what"]
