"""What a job can do with its role's credentials, on the embedded AWS with IAM enforced, and who gets them.

The heart: a policy that is wider by one action or one prefix is noticed. Each such mutant is put in the real one's
place, and the same comparison that passes for the real one must find something.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from infra import engine
from infra.embedded import record_stack
from infra.kinds import Clients
from infra.policies import job_access
from infra.stack_state import StackState
from tests.support.access import BUCKET_ACTIONS, OBJECT_ACTIONS, Place, differences, expected_places
from tests.support.catalogues import catalogue
from tests.support.embedded import answer_of, embedded_aws
from trimtab.emulation.aws import EmbeddedAws
from trimtab.emulation.web_identity import modal_claims
from trimtab.errors import ProgramError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATA, RESULTS = "datasets/tides/", "results/tides/"
BUCKET, OTHER = "harbour-charts-dev", "harbour-others"
OURS = {"workspace": "ac-harbour01", "environment": "main", "app": "harbour"}


@dataclass(frozen=True)
class Provisioned:
    """The harbour's dev stack, applied, with some objects in its bucket and another bucket beside it."""

    aws: EmbeddedAws
    clients: Clients
    role_arn: str
    policy_id: str
    policy: dict[str, Any]
    role_s3: S3Client
    places: tuple[Place, ...]

    def put_policy(self, policy: dict[str, Any]) -> None:
        role, _, name = self.policy_id.partition(":")
        self.clients.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    with embedded_aws(tmp_path_factory.mktemp("aws")) as running:
        graph = record_stack(catalogue(), "dev")
        resources, _ = engine.declared(graph)
        clients = Clients(s3=running.operator_client("s3", region="eu-north-1"), iam=running.operator_client("iam"))
        state = StackState(generation=running.generation)
        changes = engine.plan_changes(resources, state, clients)
        engine.apply(changes, state, clients, save=lambda _: None, say=lambda _: None)
        clients.s3.create_bucket(Bucket=OTHER, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        places = expected_places(BUCKET, OTHER, data=DATA, results=RESULTS)
        for place in places:
            clients.s3.put_object(Bucket=place.bucket, Key=place.key or "file", Body=b"of the operator")
        item = next(item for item in resources if item.name == "modal-tides-access")
        role_arn = graph.exports["modal_role_arns"]["tides"]
        yield Provisioned(
            aws=running,
            clients=clients,
            role_arn=role_arn,
            policy_id=item.id,
            policy=dict(item.wanted["policy"]),
            role_s3=running.role_client("s3", role_arn, modal_claims(**OURS), region="eu-north-1"),
            places=places,
        )


def test_the_role_reads_its_data_and_nothing_outside_it(stack: Provisioned) -> None:
    s3 = stack.role_s3
    assert s3.get_object(Bucket=BUCKET, Key=f"{DATA}file")["Body"].read() == b"of the operator"
    assert answer_of(s3.head_object, Bucket=BUCKET, Key=f"{DATA}file") == 200
    assert answer_of(s3.get_object, Bucket=BUCKET, Key="file") == 403
    assert answer_of(s3.get_object, Bucket=OTHER, Key="file") == 403


def test_the_role_writes_its_results_and_not_its_data(stack: Provisioned) -> None:
    s3 = stack.role_s3
    assert answer_of(s3.put_object, Bucket=BUCKET, Key=f"{DATA}mine", Body=b"x") == 403
    assert answer_of(s3.delete_object, Bucket=BUCKET, Key=f"{DATA}file") == 403
    assert answer_of(s3.put_object, Bucket=BUCKET, Key=f"{RESULTS}mine", Body=b"x") == 200
    assert s3.get_object(Bucket=BUCKET, Key=f"{RESULTS}mine")["Body"].read() == b"x"
    assert answer_of(s3.delete_object, Bucket=BUCKET, Key=f"{RESULTS}mine") == 204


def test_the_role_writes_a_large_result_in_parts(stack: Provisioned) -> None:
    s3 = stack.role_s3
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=f"{RESULTS}large")["UploadId"]
    names: dict[str, Any] = {"Bucket": BUCKET, "Key": f"{RESULTS}large", "UploadId": upload}
    part = s3.upload_part(**names, PartNumber=1, Body=b"y" * 1000)
    parts: Any = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**names, MultipartUpload=parts)
    assert answer_of(s3.create_multipart_upload, Bucket=BUCKET, Key=f"{DATA}large") == 403


def test_the_role_can_do_what_the_house_means_and_nothing_else(stack: Provisioned) -> None:
    assert [*differences(stack.role_s3, stack.places)] == []


def test_the_role_has_no_rights_over_roles(stack: Provisioned) -> None:
    iam = stack.aws.role_client("iam", stack.role_arn, modal_claims(**OURS))
    role, _, name = stack.policy_id.partition(":")
    everything = json.dumps({"Version": "2012-10-17", "Statement": []})
    assert answer_of(iam.list_roles) == 403
    assert answer_of(iam.put_role_policy, RoleName=role, PolicyName=name, PolicyDocument=everything) == 403


def mutants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the job's policy, each time with one statement wider by one thing; the conditions play no part here."""
    whole = job_access(f"arn:aws:s3:::{BUCKET}", data=DATA, results=RESULTS)
    for statement in whole["Statement"]:
        statement.pop("Condition", None)
    for index, statement in enumerate(whole["Statement"]):
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        arn = statement["Resource"]
        on_objects = "/" in arn
        for action in OBJECT_ACTIONS if on_objects else BUCKET_ACTIONS:
            if action not in actions:
                yield f"{statement['Sid']}+{action}", _with(whole, index, Action=[*actions, action])
        yield f"{statement['Sid']}+s3:*", _with(whole, index, Action="s3:*")
        wider = ["arn:aws:s3:::*"]
        if on_objects:
            head, _, _ = arn.removesuffix("/*").rpartition("/")
            wider += [f"{head}/*", f"{arn.removesuffix('/*')}*", f"arn:aws:s3:::{BUCKET}/*"]
        for resource in wider:
            yield f"{statement['Sid']} on {resource}", _with(whole, index, Resource=resource)


def _with(policy: dict[str, Any], index: int, **changed: Any) -> dict[str, Any]:
    mutant = copy.deepcopy(policy)
    mutant["Statement"][index].update(changed)
    return mutant


@pytest.mark.parametrize("mutant", [pytest.param(policy, id=name) for name, policy in mutants()])
def test_a_policy_wider_by_one_action_or_one_prefix_is_noticed(stack: Provisioned, mutant: dict[str, Any]) -> None:
    stack.put_policy(mutant)
    try:
        noticed = next(differences(stack.role_s3, stack.places), None)
    finally:
        stack.put_policy(stack.policy)
    assert noticed is not None
    assert noticed.endswith("allowed")


@pytest.mark.parametrize("index", range(3))
def test_a_policy_that_lost_a_statement_is_noticed_too(stack: Provisioned, index: int) -> None:
    narrower = {**stack.policy, "Statement": [s for n, s in enumerate(stack.policy["Statement"]) if n != index]}
    stack.put_policy(narrower)
    try:
        noticed = next(differences(stack.role_s3, stack.places), None)
    finally:
        stack.put_policy(stack.policy)
    assert noticed is not None
    assert noticed.endswith("refused")


@pytest.mark.parametrize(
    "claims",
    [
        modal_claims(**{**OURS, "workspace": "ac-harbour02"}),
        modal_claims(**{**OURS, "environment": "dev"}),
        modal_claims(**{**OURS, "app": "another"}),
        modal_claims(**{**OURS, "app": "harbour-copy"}),
        {**modal_claims(**OURS), "aud": "somebody"},
        {key: value for key, value in modal_claims(**OURS).items() if key != "aud"},
        {**modal_claims(**OURS), "iss": "https://oidc.example.com"},
        {**modal_claims(**OURS), "exp": 1},
    ],
    ids=["workspace", "environment", "app", "app's namesake", "audience", "no audience", "issuer", "expired"],
)
def test_a_token_of_anybody_else_gets_no_credentials(stack: Provisioned, claims: dict[str, Any]) -> None:
    with pytest.raises(ProgramError, match="refused the role"):
        stack.aws.role_client("s3", stack.role_arn, claims)


def test_a_refusal_by_the_trust_policy_says_that_it_is_ours(stack: Provisioned) -> None:
    with pytest.raises(ProgramError) as refused:
        stack.aws.role_client("s3", stack.role_arn, modal_claims(**{**OURS, "app": "another"}))
    assert "judged by Trimtab" in refused.value.why
    assert "app_name:another" in refused.value.why


def test_a_token_that_another_signed_gets_no_credentials(stack: Provisioned) -> None:
    from trimtab.emulation import web_identity

    forged = web_identity.mint(modal_claims(**OURS), b"a guess", now_s=2e9)
    with pytest.raises(ProgramError, match="refused the role"):
        stack.aws.assume_role(stack.role_arn, forged)


def test_any_aws_program_gets_in_by_the_usual_variables(
    stack: Provisioned, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container of a job does this: a token in a file, a role, and nothing of ours."""
    import boto3

    (tmp_path / "token").write_text(stack.aws.mint_token(modal_claims(**OURS)))
    for name, value in {
        "AWS_ENDPOINT_URL": stack.aws.endpoint_url,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": stack.role_arn,
        "AWS_REGION": "eu-north-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.Session().client("s3", region_name="eu-north-1")
    assert answer_of(s3.get_object, Bucket=BUCKET, Key=f"{DATA}file") == 200
    assert answer_of(s3.get_object, Bucket=BUCKET, Key="file") == 403
