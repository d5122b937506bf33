"""Each component's options, names, tags, parent and protection, read off what a stack with everything declares."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.embedded import record_stack
from infra.estate import Estate
from infra.graph import Graph, Resource
from infra.tags import tags_of
from tests.support.catalogues import catalogue, plain
from tests.support.worlds import KEY, WORLDS, everything
from trimtab.catalogue import Catalogue
from trimtab.catalogue.model import STACKS

GITHUB_PROVIDER = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
MODAL_PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.modal.com"


@cache
def stack_of(world: str, stack: str) -> Graph:
    return record_stack(everything(world), stack)


def inputs(graph: Graph, name: str) -> dict[str, Any]:
    return dict(next(resource for resource in graph.resources if resource.name == name).inputs)


def names(graph: Graph) -> set[str]:
    return {resource.name for resource in graph.resources}


def real(graph: Graph) -> list[Resource]:
    return [r for r in graph.resources if r.custom and not r.type.startswith("pulumi:providers:")]


def class_of(type_: str) -> Any:
    """Return the class of a type: `aws:s3/bucket:Bucket` is pulumi_aws.s3.Bucket."""
    module, _, name = type_.removeprefix("aws:").replace("/", ":").split(":")
    return getattr(importlib.import_module(f"pulumi_aws.{module}"), name)


# --- all of them ---


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stack", STACKS)
def test_all_that_takes_tags_has_them_and_keeps_the_commit_that_made_it(world: str, stack: str) -> None:
    tagged = 0
    for resource in real(stack_of(world, stack)):
        takes_tags = "tags" in inspect.signature(class_of(resource.type)._internal_init).parameters
        assert ("tags" in resource.inputs) == takes_tags, resource.name
        if takes_tags:
            tagged += 1
            assert resource.inputs["tags"].items() >= {"project": "harbour", "stack": stack, "owner": "pilots"}.items()
            assert resource.ignore_changes == ("tags.commit",), resource.name
    assert tagged == 10


def test_the_commit_is_a_tag_where_there_is_one_and_nothing_else_depends_on_it() -> None:
    assert tags_of(catalogue(), "dev", commit="0a1b2c3")["commit"] == "0a1b2c3"
    assert "commit" not in tags_of(catalogue(), "dev")


def test_a_later_commit_declares_the_same_but_for_tags_that_are_not_followed() -> None:
    """So a second `up` at the same commit changes nothing, and at another commit nothing either."""
    one, two = (record_stack(everything("kms"), "dev", commit=commit) for commit in ("0a1b2c3", "4d5e6f7"))
    for before, after in zip(one.resources, two.resources, strict=True):
        tags = dict(after.inputs.get("tags", {}))
        if tags:
            assert (before.inputs["tags"]["commit"], tags["commit"]) == ("0a1b2c3", "4d5e6f7")
            assert "tags.commit" in after.ignore_changes
            tags = {**tags, "commit": "0a1b2c3"}
        assert before.inputs == ({**after.inputs, "tags": tags} if tags else after.inputs)


@pytest.mark.parametrize("world", WORLDS)
def test_every_resource_belongs_to_a_component_is_named_after_it_and_goes_through_our_provider(world: str) -> None:
    graph = stack_of(world, "dev")
    components = {r.urn: r.name for r in graph.resources if not r.custom}
    assert {*components.values()} == {"data", "github", "modal", "images", "budget"}
    for resource in real(graph):
        assert resource.name.startswith(f"{components[resource.parent]}-")


@pytest.mark.parametrize("world", WORLDS)
def test_outside_dev_all_of_the_bucket_is_protected_and_nothing_else_is(world: str) -> None:
    for resource in real(stack_of(world, "prod")):
        is_bucket_s = resource.type.startswith("aws:s3/")
        assert (resource.protect, resource.retain_on_delete) == (is_bucket_s, is_bucket_s), resource.name
    assert not any(r.protect or r.retain_on_delete for r in stack_of(world, "dev").resources)


def longest() -> Catalogue:
    """Return a catalogue in which every name is as long as it may be."""
    name, prefix = "n" * 32, "p" * 198
    job = {"source": "a.b", "config": "c.yaml", "memory": "1GiB", "time": "1min"}
    return catalogue(
        project=name,
        owner=name,
        bucket__name="b" * 56,
        bucket__kms_key=KEY,
        bucket__models=f"m{prefix}/",
        aws__monthly_budget={"usd": 1, "alerts": ["a@b.example"]},
        modal__workspace="ac-" + "w" * 40,
        modal__environment="e" * 64,
        modal__app="a" * 64,
        registry={"kind": "ecr", "keep": 5},
        jobs={name: {**job, "data": f"d{prefix}/", "results": f"r{prefix}/"}},
        services={name: plain()["services"]["gulls"]},
        github={
            "repository": "o" * 39 + "/" + "r" * 100,
            "owner_id": 10**12,
            "repository_id": 10**12,
            "branch": "b" * 201,
            "state": {"bucket": "s" * 63, "prefix": f"s{prefix}/"},
        },
    )


def test_the_longest_names_that_the_catalogue_takes_are_within_what_aws_takes() -> None:
    """Sources: IAM, S3, ECR and Budgets quotas. A suffix of Pulumi's is a hyphen and seven letters; one is in `id`."""
    graph = record_stack(longest(), "prod")
    most = {
        "aws:iam/role:Role": 64,
        "aws:iam/policy:Policy": 512 + 128 + 60,
        "aws:s3/bucket:Bucket": 63,
        "aws:ecr/repository:Repository": 256,
        "aws:budgets/budget:Budget": 100 + 13,
    }
    for resource in real(graph):
        assert len(resource.id) <= most.get(resource.type, 2048), resource.id
        assert len(resource.inputs.get("description", "")) <= 1000
        assert len(resource.inputs.get("path", "")) <= 512
        for rule in resource.inputs.get("rules", ()):
            assert len(rule.get("id", "")) <= 255
        if resource.type != "aws:ecr/lifecyclePolicy:LifecyclePolicy" and "policy" in resource.inputs:
            # An inline policy 10,240 characters a role, a managed one 6,144, a bucket's 20 KiB; without white space.
            packed = json.dumps(json.loads(resource.inputs["policy"]), separators=(",", ":"))
            assert len(packed) <= (6144 if resource.type.endswith(":Policy") else 10240), resource.name
        assert len(resource.inputs.get("assumeRolePolicy", "")) <= 2048


# --- DataBucket ---


def test_with_a_key_the_bucket_is_encrypted_by_it_with_bucket_keys_and_its_policy_says_so() -> None:
    graph = stack_of("kms", "dev")
    assert inputs(graph, "data-encryption")["rules"] == [
        {
            "applyServerSideEncryptionByDefault": {"kmsMasterKeyId": KEY, "sseAlgorithm": "aws:kms"},
            "bucketKeyEnabled": True,
        }
    ]
    assert KEY in inputs(graph, "data-policy")["policy"]
    assert KEY not in inputs(stack_of("s3", "dev"), "data-policy")["policy"]


def test_lifecycle_rules_follow_the_catalogue_s_prefixes_days_and_tiers() -> None:
    rules = {rule["id"]: rule for rule in inputs(stack_of("s3", "dev"), "data-lifecycle")["rules"]}
    assert {name: rule["filter"]["prefix"] for name, rule in rules.items()} == {
        "old-versions": "",
        "old-versions:datasets/tides/": "datasets/tides/",
        "old-versions:datasets/winds/": "datasets/winds/",
        "old-versions:results/tides/": "results/tides/",
        "old-versions:results/winds/": "results/winds/",
        "broken-uploads": "",
        "cold:datasets/": "datasets/",
        "cold:results/": "results/",
    }
    assert rules["old-versions"]["noncurrentVersionExpiration"] == {"noncurrentDays": 365}
    assert rules["old-versions:results/tides/"]["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
    assert rules["cold:results/"]["transitions"] == [{"days": 180, "storageClass": "DEEP_ARCHIVE"}]
    assert all(rule["status"] == "Enabled" for rule in rules.values())
    assert [name for name, rule in rules.items() if "expiration" in rule] == ["old-versions"]


def test_no_rule_ever_expires_what_is_current() -> None:
    for world in WORLDS:
        for rule in inputs(stack_of(world, "prod"), "data-lifecycle")["rules"]:
            assert rule.get("expiration", {}).keys() <= {"expiredObjectDeleteMarker"}


def test_access_is_logged_where_the_catalogue_says_and_not_by_default() -> None:
    logs = inputs(stack_of("s3", "dev"), "data-access-logs")
    assert logs == {"bucket": "harbour-charts-dev", "targetBucket": "harbour-logs", "targetPrefix": "s3/"}
    assert "data-access-logs" not in names(record_stack(catalogue(), "dev"))


# --- ModalAccess ---


def test_a_job_s_role_has_its_path_its_session_and_its_own_tag() -> None:
    role = inputs(stack_of("s3", "prod"), "modal-winds")
    assert role["path"] == "/harbour/prod/jobs/"
    assert role["maxSessionDuration"] == 4 * 3600
    assert role["tags"]["job"] == "winds"
    assert "name" not in role


def test_jobs_are_bounded_where_somebody_deploys_from_github_and_only_there() -> None:
    boundary = "arn:aws:iam::123456789012:policy/harbour/dev/job-boundary"
    assert inputs(stack_of("s3", "dev"), "modal-tides")["permissionsBoundary"] == boundary
    assert "permissionsBoundary" not in inputs(record_stack(catalogue(), "dev"), "modal-tides")


def test_an_identity_provider_that_is_there_already_is_used_and_not_made() -> None:
    github = {"repository": "harbour/charts", "branch": "main", "provider_arn": GITHUB_PROVIDER}
    graph = record_stack(catalogue(modal__provider_arn=MODAL_PROVIDER, github=github), "dev")
    assert not names(graph) & {"modal-provider", "github-provider"}
    assert graph.exports["modal_provider_arn"] == MODAL_PROVIDER
    for role, provider in (("modal-tides", MODAL_PROVIDER), ("github-preview", GITHUB_PROVIDER)):
        assert provider in inputs(graph, role)["assumeRolePolicy"]
    for access in ("github-preview-access", "github-deployment-access"):
        assert "GetOpenIDConnectProvider" not in inputs(graph, access)["policy"]


# --- GithubAccess ---


def test_without_github_nobody_comes_in_from_there() -> None:
    graph = record_stack(catalogue(), "dev")
    assert not {name for name in names(graph) if name.startswith("github")}
    assert "github_role_arns" not in graph.exports


def test_github_s_roles_last_an_hour_lie_under_a_path_of_their_own_and_are_exported() -> None:
    graph = stack_of("s3", "dev")
    for name in ("preview", "deployment"):
        role = inputs(graph, f"github-{name}")
        assert (role["path"], role["maxSessionDuration"]) == ("/harbour/dev/github/", 3600)
        assert graph.exports["github_role_arns"][name].startswith("arn:aws:iam::123456789012:role/harbour/dev/github/")


def test_without_a_place_for_the_state_no_role_is_given_any_other_bucket() -> None:
    graph = record_stack(catalogue(github={"repository": "harbour/charts", "branch": "main"}), "dev")
    for name in ("preview", "deployment"):
        policy = json.loads(inputs(graph, f"github-{name}-access")["policy"])
        buckets = [s["Resource"] for s in policy["Statement"] if str(s["Resource"]).startswith("arn:aws:s3")]
        assert buckets == ["arn:aws:s3:::harbour-charts-dev"]
        assert not any(s["Sid"].endswith(("State", "Repositories", "Budget", "Images")) for s in policy["Statement"])


def test_arns_are_those_of_the_partition_and_account_in_which_the_stack_is() -> None:
    estate = Estate.of(everything("s3"), "dev", "arn:aws-us-gov:iam::210987654321:oidc-provider/oidc.modal.com")
    assert estate.bucket_arn == "arn:aws-us-gov:s3:::harbour-charts-dev"
    assert estate.job_boundary_arn == "arn:aws-us-gov:iam::210987654321:policy/harbour/dev/job-boundary"
    assert estate.repository_arns == "arn:aws-us-gov:ecr:eu-north-1:210987654321:repository/harbour/dev/*"


# --- ImageRegistry, MonthlyBudget ---


def test_there_are_repositories_only_where_the_catalogue_asks_for_ecr() -> None:
    assert not {name for name in names(record_stack(catalogue(), "dev")) if name.startswith("images")}


def test_a_repository_has_tags_that_stay_is_scanned_and_keeps_the_newest() -> None:
    graph = stack_of("s3", "prod")
    repository = inputs(graph, "images-gulls")
    assert repository["name"] == "harbour/prod/gulls"
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert repository["forceDelete"] is False
    assert repository["tags"]["service"] == "gulls"
    (rule,) = json.loads(inputs(graph, "images-gulls-lifecycle")["policy"])["rules"]
    assert rule["selection"] == {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5}
    assert graph.exports["image_repository_urls"]["gulls"].endswith("/harbour/prod/gulls")


def test_a_budget_tells_all_addresses_before_and_at_its_amount() -> None:
    budget = inputs(stack_of("s3", "prod"), "budget-costs")
    assert (budget["name"], budget["limitAmount"], budget["limitUnit"]) == ("harbour-prod", "250.00", "USD")
    assert [(n["notificationType"], n["threshold"]) for n in budget["notifications"]] == [
        ("ACTUAL", 80),
        ("FORECASTED", 100),
    ]
    for notification in budget["notifications"]:
        assert notification["subscriberEmailAddresses"] == ["pilots@harbour.example", "captain@harbour.example"]
    assert not {name for name in names(record_stack(catalogue(), "dev")) if name.startswith("budget")}


# --- register_outputs ---


def faults(source: str) -> Iterator[str]:
    """Yield each component whose __init__ does not end in the one call of register_outputs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(b).endswith("ComponentResource") for b in node.bases):
            (init,) = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
            calls = [n for n in ast.walk(node) if isinstance(n, ast.Call) and "register_outputs" in ast.unparse(n.func)]
            last = init.body[-1]
            is_last = isinstance(last, ast.Expr) and last.value in calls
            leaves_early = any(isinstance(n, ast.Return | ast.Raise) for n in ast.walk(init))
            if len(calls) != 1 or not is_last or leaves_early:
                yield node.name


def test_every_component_ends_by_registering_its_outputs(root: Path) -> None:
    sources = {path.name: path.read_text() for path in (root / "infra").glob("*.py")}
    components = [name for name, text in sources.items() if "ComponentResource)" in text]
    assert len(components) == 5
    assert {name: [*faults(sources[name])] for name in components} == {name: [] for name in components}


@pytest.mark.parametrize(
    "body",
    [
        "super().__init__()",
        "self.register_outputs({})\n        Bucket('b')",
        "self.register_outputs({})\n        self.register_outputs({})",
        "if x:\n            self.register_outputs({})",
        "if x:\n            return\n        self.register_outputs({})",
    ],
    ids=["missing", "not last", "twice", "sometimes", "left before"],
)
def test_a_component_that_does_not_is_noticed(body: str) -> None:
    source = f"class Harbour(pulumi.ComponentResource):\n    def __init__(self):\n        {body}\n"
    assert [*faults(source)] == ["Harbour"]
