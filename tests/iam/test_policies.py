"""Every policy of the program, held against AWS's own logic: what is meant, nothing else, and every change noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import pytest

from infra.embedded import record_stack
from tests.iam.actors import ACTORS, FIXED, Case, documents_of
from tests.iam.grid import SERVICES, grid
from tests.iam.mutants import Mutant, mutants_of
from tests.iam.simulator import require_simulator, simulate, universe
from tests.iam.table import TABLE
from tests.support.worlds import WORLDS, everything

_NAMED_IN_GRAPH: Final = {
    "data-policy": "bucket",
    "github-job-boundary": "boundary",
    "github-preview": "trust of preview",
    "github-preview-access": "access of preview",
    "github-deployment": "trust of deployment",
    "github-deployment-access": "access of deployment",
    "modal-tides": "trust of tides",
    "modal-tides-access": "access of tides",
    "modal-winds": "trust of tides",  # one app, so one trust
    "modal-winds-access": "access of winds",
}
# Keys that AWS's data does not list by name: claims of an identity provider, and what a service encrypts for.
_UNLISTED: Final = ("oidc.modal.com:", "token.actions.githubusercontent.com:", "kms:EncryptionContext:")


@pytest.fixture(scope="module")
def actions() -> dict[str, list[str]]:
    """Return every action of the services that the policies speak of."""
    require_simulator()
    return universe(SERVICES)


def surprises(cases: Iterable[Case]) -> list[str]:
    """Return the cases that get another verdict than the one that is meant, with the one that they get."""
    tried = [*cases]
    answer = simulate([[case.trial()] for case in tried])
    assert answer.errors == []
    return [f"{case}, but {group[1]}" for case, group in zip(tried, answer.groups, strict=True) if group]


def survivors(mutants: Iterable[Mutant], cases: Iterable[Case]) -> list[Mutant]:
    """Return the mutants that no case tells from the original."""
    tried = [*mutants]
    judged: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        for document in case.uses():
            judged.setdefault((case.world, document), []).append(case)
    answer = simulate(
        [
            case.trial({mutant.document: mutant.policy})
            for case in judged.get((mutant.world, mutant.document), ())
            if mutant.can_be_shown_by(case.action, case.verdict)
        ]
        for mutant in tried
    )
    return [mutant for mutant, group in zip(tried, answer.groups, strict=True) if group is None]


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_held_against_aws_s_logic_is_what_the_program_declares(world: str) -> None:
    """Every policy in the graph is one of the documents here, letter by letter, and no document is made up."""
    declared: dict[str, Any] = {}
    for resource in record_stack(everything(world), "dev").resources:
        for key in ("policy", "assumeRolePolicy"):
            if key in resource.inputs and not resource.type.startswith("aws:ecr/"):  # ECR's is about age, not rights
                declared[resource.name] = json.loads(resource.inputs[key])
    assert declared == {name: documents_of(world)[document] for name, document in _NAMED_IN_GRAPH.items()}
    assert {*_NAMED_IN_GRAPH.values()} == {*documents_of(world)}


def test_every_document_is_asked_about_and_so_is_every_actor() -> None:
    for world in WORLDS:
        cases = [case for case in TABLE if case.world == world]
        assert {*documents_of(world), *FIXED} == set().union(*(case.uses() for case in cases))
    assert {case.who for case in TABLE} == {*ACTORS}


def test_every_line_of_the_table_gets_the_verdict_that_is_meant() -> None:
    require_simulator()
    assert len(TABLE) > 1000
    assert surprises(TABLE) == []


def test_aws_knows_every_action_resource_and_condition_key_of_the_table() -> None:
    require_simulator()
    answer = simulate([[case.trial()] for case in TABLE], check=True)
    assert answer.faults == {}
    assert [key for keys in answer.ignored.values() for key in keys if not key.startswith(_UNLISTED)] == []


def test_nobody_may_do_anything_else_that_aws_knows(actions: dict[str, list[str]]) -> None:
    assert surprises(grid(actions)) == []


def test_every_policy_with_one_thing_lost_or_one_thing_wider_is_noticed(actions: dict[str, list[str]]) -> None:
    mutants: dict[tuple[str, str], Mutant] = {}
    for world in WORLDS:
        for name, policy in documents_of(world).items():
            for mutant in mutants_of(world, name, policy, actions):
                mutants.setdefault((name, json.dumps(mutant.policy)), mutant)  # once, where both worlds have it
    assert len(mutants) > 1500
    unnoticed = survivors(mutants.values(), TABLE)
    assert len(unnoticed) < len(mutants) / 1.5  # the table alone sees all but the rarest actions
    unnoticed = survivors(unnoticed, grid(actions))
    assert [str(mutant) for mutant in unnoticed] == []


def test_a_policy_that_did_not_change_is_named_as_unnoticed() -> None:
    """The check above would see nothing if it could not see this."""
    require_simulator()
    same = [
        Mutant(world="s3", document=name, change="nothing", policy=policy, shown_by=shown_by, action="*:*")
        for name, policy in documents_of("s3").items()
        for shown_by in ("Allowed", "ImplicitlyDenied")
    ]
    assert survivors(same, TABLE) == same
