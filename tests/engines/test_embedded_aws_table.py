"""The table of tests/iam once more, on the embedded AWS with IAM enforced: every line that it can be asked.

The stack has everything that a catalogue can ask for, and is made by `up`, as a person makes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from infra import embedded
from infra.policies import GITHUB_AUDIENCE, GITHUB_ISSUER
from tests.iam.actors import ALLOWED, BUCKET, DEPLOYMENT_ROLE, PREVIEW_ROLE, REFUSED, STATE, TIDES_ROLE, Case
from tests.iam.embedded import CONDITION, why_not_embedded
from tests.iam.table import OTHERS, TABLE
from tests.support.access import BUCKET_ACTIONS, OBJECT_ACTIONS, Place
from tests.support.embedded import answer_of, embedded_aws
from tests.support.worlds import WORLDS, everything_text
from trimtab.emulation.aws import EmbeddedAws
from trimtab.emulation.web_identity import MODAL_ISSUER, modal_claims
from trimtab.errors import ProgramError

_ISSUERS: Final = {"Modal": MODAL_ISSUER, "GitHub": GITHUB_ISSUER, "another issuer": "https://oidc.example.com"}
_SUBJECTS: Final = {
    ("s3", "preview"): "repo:harbour@4711/charts@815:pull_request",
    ("s3", "deployment"): "repo:harbour@4711/charts@815:ref:refs/heads/main",
    ("kms", "preview"): "repo:harbour/charts:pull_request",
    ("kms", "deployment"): "repo:harbour/charts:environment:production",
}
_RULE: Final = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
_NOTHING: Final = json.dumps({"Version": "2012-10-17", "Statement": []})
# What tests/support/access.py does not ask. Each is refused in every line of the table, or only reads.
_MORE: Final[Mapping[str, Callable[[Any, str, str], int]]] = {
    "s3:GetLifecycleConfiguration": lambda s3, bucket, _: answer_of(
        s3.get_bucket_lifecycle_configuration, Bucket=bucket
    ),
    "s3:PutLifecycleConfiguration": lambda s3, bucket, _: answer_of(
        s3.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration={"Rules": [_RULE]}
    ),
    "s3:PutBucketPolicy": lambda s3, bucket, _: answer_of(s3.put_bucket_policy, Bucket=bucket, Policy=_NOTHING),
    "s3:PutBucketTagging": lambda s3, bucket, _: answer_of(
        s3.put_bucket_tagging, Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
    ),
    "s3:PutBucketLogging": lambda s3, bucket, _: answer_of(
        s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus={}
    ),
    "s3:RestoreObject": lambda s3, bucket, key: answer_of(
        s3.restore_object, Bucket=bucket, Key=key, RestoreRequest={"Days": 1}
    ),
}


@dataclass(frozen=True)
class Stack:
    """A world's dev stack on an embedded AWS."""

    world: str
    aws: EmbeddedAws
    outputs: Mapping[str, Any]
    clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def role_arn(self, meant: str) -> str:
        """Return a role's ARN, whose name is generated."""
        github = self.outputs["github_role_arns"]
        arns = {PREVIEW_ROLE: github["preview"], DEPLOYMENT_ROLE: github["deployment"]}
        arn: str = {TIDES_ROLE: self.outputs["modal_role_arns"]["tides"], **arns}[meant]
        return arn

    def client(self, who: str, service: str) -> Any:
        """Return a client with an actor's credentials, which it got by its token."""
        if (who, service) not in self.clients:
            self.clients[who, service] = self._new_client(who, service)
        return self.clients[who, service]

    def _new_client(self, who: str, service: str) -> Any:
        if who in ("tides", "winds"):
            arn = self.outputs["modal_role_arns"][who]
            claims = modal_claims(workspace="ac-harbour01", environment="main", app="harbour")
        else:
            arn = self.outputs["github_role_arns"][who]
            claims = {"iss": GITHUB_ISSUER, "aud": GITHUB_AUDIENCE, "sub": _SUBJECTS[self.world, who]}
        return self.aws.role_client(service, arn, claims, region="eu-north-1")

    def allows(self, case: Case) -> bool:
        """Ask the embedded AWS."""
        if case.who in _ISSUERS:
            return self._lets_in(case)
        service, _, _ = case.action.partition(":")
        client = self.client(case.who, service)
        if case.action == "sts:AssumeRole":
            return answer_of(client.assume_role, RoleArn=case.on, RoleSessionName="captain") != 403
        if case.action == "ecr:GetAuthorizationToken":
            return answer_of(client.get_authorization_token) == 200
        bucket, _, key = case.on.removeprefix("arn:aws:s3:::").partition("/")
        if case.action == "s3:ListBucket":
            return answer_of(client.list_objects_v2, Bucket=bucket, Prefix=case.given.get("s3:prefix", "")) != 403
        if case.action in (*OBJECT_ACTIONS, *BUCKET_ACTIONS):
            return Place(bucket=bucket, key=key).is_allowed(client, case.action)
        return _MORE[case.action](client, bucket, key) != 403

    def _lets_in(self, case: Case) -> bool:
        claims = {name.rpartition(":")[2]: value for name, value in case.given.items()}
        token = self.aws.mint_token({"iss": _ISSUERS[case.who], **claims})
        try:
            self.aws.assume_role(self.role_arn(case.on), token)
        except ProgramError:
            return False
        return True


@pytest.fixture(scope="module", params=WORLDS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRIMTAB_COMMIT", "the first")
        yield from _provisioned(request.param, tmp_path_factory.mktemp(request.param))


def _provisioned(world: str, folder: Path) -> Iterator[Stack]:
    (folder / "trimtab.yaml").write_text(everything_text(world))
    with embedded_aws(folder / "aws") as running:
        where = ["--catalogue", str(folder / "trimtab.yaml"), "--state-dir", str(folder / "aws")]
        assert embedded.main(["up", *where]) == 0
        s3 = running.operator_client("s3", region="eu-north-1")
        place: Any = {"CreateBucketConfiguration": {"LocationConstraint": "eu-north-1"}}
        for arn in (f"{BUCKET}-too", OTHERS, STATE, f"{STATE}-too"):
            s3.create_bucket(Bucket=arn.removeprefix("arn:aws:s3:::"), **place)
        state = json.loads((folder / "aws" / "stack-dev.json").read_text())
        yield Stack(world=world, aws=running, outputs=state["exports"])


def test_each_line_that_the_embedded_aws_can_be_asked_gets_the_verdict_that_aws_gives(stack: Stack) -> None:
    lines = [case for case in TABLE if case.world == stack.world and why_not_embedded(case) is None]
    assert len(lines) > 200
    assert [str(case) for case in lines if stack.allows(case) != (case.verdict == ALLOWED)] == []


def test_a_line_is_left_out_for_its_condition_only_where_the_embedded_aws_would_be_wrong(stack: Stack) -> None:
    lines = [
        case
        for case in TABLE
        if case.world == stack.world
        and case.action == "s3:ListBucket"
        and case.verdict == REFUSED
        and why_not_embedded(case) == CONDITION
    ]
    assert len(lines) > 10
    assert [str(case) for case in lines if not stack.allows(case)] == []


def test_another_commit_changes_nothing_and_what_was_made_names_the_commit_that_made_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stack.aws.state_dir
    monkeypatch.setenv("TRIMTAB_COMMIT", "another")
    where = ["--catalogue", str(folder.parent / "trimtab.yaml"), "--state-dir", str(folder), "--json"]
    capsys.readouterr()
    assert embedded.main(["up", *where]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []
    tags = stack.aws.operator_client("s3").get_bucket_tagging(Bucket="harbour-charts-dev")["TagSet"]
    assert {"Key": "commit", "Value": "the first"} in tags
