"""What a stack declares: options, names, tags and exports, read off the record of one run of the program."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws
import pytest

from infra.embedded import record_stack
from infra.engine import declared
from infra.graph import Graph, Resource, record
from infra.kinds import KINDS
from infra.program import declare
from tests.support.catalogues import catalogue
from trimtab.catalogue import Catalogue
from trimtab.catalogue.model import STACKS
from trimtab.errors import UsageError

StackOf = Callable[[str], Graph]


def the(graph: Graph, name: str) -> Resource:
    return next(resource for resource in graph.resources if resource.name == name)


def real(graph: Graph) -> list[Resource]:
    return [r for r in graph.resources if r.custom and not r.type.startswith("pulumi:providers:")]


@pytest.mark.parametrize("stack", STACKS)
def test_the_bucket_has_the_catalogue_s_name_and_the_stack_s(stack_of: StackOf, stack: str) -> None:
    assert the(stack_of(stack), "data-bucket").inputs["bucket"] == catalogue().bucket_name(stack)


@pytest.mark.parametrize("stack", STACKS)
def test_all_that_can_carry_tags_says_its_project_stack_and_owner(stack_of: StackOf, stack: str) -> None:
    tagged = [r for r in real(stack_of(stack)) if r.type.endswith((":Bucket", ":Role", ":OpenIdConnectProvider"))]
    assert len(tagged) == 3
    for resource in tagged:
        assert resource.inputs["tags"].items() >= {"project": "harbour", "stack": stack, "owner": "pilots"}.items()


def test_in_prod_the_bucket_and_each_of_its_settings_is_protected_and_retained(stack_of: StackOf) -> None:
    of_bucket = [r for r in real(stack_of("prod")) if r.type.startswith("aws:s3/")]
    assert len(of_bucket) == 7
    assert all(r.protect and r.retain_on_delete for r in of_bucket)


def test_in_dev_nothing_is_protected(stack_of: StackOf) -> None:
    assert not any(r.protect or r.retain_on_delete for r in stack_of("dev").resources)


def test_every_resource_belongs_to_a_component_and_is_named_after_it(stack_of: StackOf) -> None:
    graph = stack_of("dev")
    components = {r.urn: r.name for r in graph.resources if not r.custom}
    for resource in real(graph):
        assert resource.name.startswith(f"{components[resource.parent]}-")


def test_the_bucket_is_versioned_encrypted_and_closed_to_the_public(stack_of: StackOf) -> None:
    graph = stack_of("dev")
    assert the(graph, "data-versioning").inputs["versioningConfiguration"] == {"status": "Enabled"}
    rule = the(graph, "data-encryption").inputs["rules"][0]
    assert rule == {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}
    assert the(graph, "data-ownership").inputs["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
    blocks = {key: value for key, value in the(graph, "data-public-access").inputs.items() if key != "bucket"}
    assert len(blocks) == 4
    assert all(blocks.values())


def test_old_versions_and_broken_uploads_go_after_the_catalogue_s_days() -> None:
    graph = record_stack(catalogue(bucket__old_versions_days=11, bucket__broken_uploads_days=3), "dev")
    old, broken = the(graph, "data-lifecycle").inputs["rules"]
    assert old["noncurrentVersionExpiration"] == {"noncurrentDays": 11}
    assert broken["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 3}


def test_the_bucket_policy_waits_for_the_public_access_block_as_s3_refuses_the_two_at_once(stack_of: StackOf) -> None:
    graph = stack_of("dev")
    assert the(graph, "data-public-access").urn in the(graph, "data-policy").dependencies


def test_every_resource_goes_to_the_catalogue_s_region(stack_of: StackOf) -> None:
    assert the(stack_of("dev"), "aws").inputs["region"] == "eu-north-1"


@pytest.mark.parametrize("stack", STACKS)
def test_each_job_of_the_catalogue_has_a_role_of_its_own_and_its_arn_is_exported(
    our_catalogue: Catalogue, stack: str
) -> None:
    graph = record_stack(our_catalogue, stack)
    assert graph.exports["bucket"] == our_catalogue.bucket_name(stack)
    assert graph.exports["region"] == our_catalogue.aws.region
    arns = graph.exports["modal_role_arns"]
    assert arns.keys() == our_catalogue.jobs.keys()
    assert len({*arns.values()}) == len(arns)
    for name, job in our_catalogue.jobs.items():
        policy = json.loads(the(graph, f"modal-{name}-access").inputs["policy"])
        bucket = f"arn:aws:s3:::{our_catalogue.bucket_name(stack)}"
        resources = [statement["Resource"] for statement in policy["Statement"]]
        assert resources == [bucket, f"{bucket}/{job.data}*", f"{bucket}/{job.results}*"]


def test_two_jobs_do_not_share_a_prefix() -> None:
    job = {"data": "datasets/winds/", "results": "results/winds/", "source": "training.winds.source"}
    more = {**job, "config": "configs/local/winds.yaml", "memory": "1GiB", "time": "1min"}
    graph = record_stack(catalogue(jobs__winds=more), "dev")
    assert "winds" not in the(graph, "modal-tides-access").inputs["policy"]
    assert "tides" not in the(graph, "modal-winds-access").inputs["policy"]


def test_roles_are_auto_named_so_that_one_can_be_replaced_while_the_old_one_serves(stack_of: StackOf) -> None:
    role = the(stack_of("dev"), "modal-tides")
    assert "name" not in role.inputs
    assert role.id.startswith("modal-tides-")
    assert len(role.id) <= 64  # IAM's limit


def test_the_longest_job_name_still_fits_into_a_role_name() -> None:
    plain = {"data": "d/", "results": "r/", "source": "a.b", "config": "c.yaml", "memory": "1GiB", "time": "1min"}
    graph = record_stack(catalogue(jobs={"j" * 32: plain}), "dev")
    assert all(len(part) <= 64 for r in real(graph) if "iam/role" in r.type for part in r.id.split(":"))


@pytest.mark.parametrize("stack", STACKS)
def test_the_embedded_engine_can_hold_every_type_that_is_declared(stack_of: StackOf, stack: str) -> None:
    assert {r.type for r in real(stack_of(stack))} <= KINDS.keys()


def test_a_type_that_the_embedded_engine_does_not_know_is_an_error_not_a_gap() -> None:
    def program() -> None:
        pulumi_aws.sqs.Queue("letters")

    with pytest.raises(UsageError, match="cannot hold a aws:sqs/queue:Queue"):
        declared(record(program, project="p", stack="dev", predict=_predict_from_the_table))


def _predict_from_the_table(type_: str, name: str, inputs: Any) -> tuple[str, Any]:
    from infra.kinds import kind_of

    return kind_of(type_).identify("123456789012", name, inputs)


def test_a_program_that_asks_aws_while_it_declares_is_an_error() -> None:
    def program() -> None:
        pulumi.export("account", pulumi_aws.get_caller_identity_output().account_id)

    with pytest.raises(Exception, match="getCallerIdentity"):
        record(program, project="p", stack="dev", predict=lambda *_: ("id", {}))


def test_a_stack_that_the_house_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="no stack 'staging'"):
        declare(catalogue(), "staging")
