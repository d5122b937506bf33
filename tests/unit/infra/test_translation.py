"""What the embedded AWS cannot hold is left out, and said; all else arrives as it was declared."""

from __future__ import annotations

import json
from collections.abc import Callable

from infra.engine import declared
from infra.graph import Graph

StackOf = Callable[[str], Graph]


def test_each_condition_that_is_dropped_is_said_and_nothing_else_is(stack_of: StackOf) -> None:
    _, notes = declared(stack_of("dev"))
    assert [note.partition(":")[0] for note in notes] == [
        "data-policy, statement TlsOnly",
        "data-policy, statement NoOtherEncryption",
        "data-policy, statement NoKeysOfCustomers",
        "modal-tides-access, statement ListOwnPrefixes",
    ]
    assert "aws:SecureTransport" in notes[0]
    assert "s3:prefix" in notes[-1]


def test_a_policy_loses_its_conditions_only(stack_of: StackOf) -> None:
    resources, _ = declared(stack_of("dev"))
    wanted = {item.name: item.wanted for item in resources}
    whole = {r.name: r.inputs for r in stack_of("dev").resources}
    statements = json.loads(whole["modal-tides-access"]["policy"])["Statement"]
    assert wanted["modal-tides-access"]["policy"]["Statement"] == [
        {key: value for key, value in statement.items() if key != "Condition"} for statement in statements
    ]
    assert wanted["data-policy"]["policy"]["Statement"] == []


def test_a_trust_policy_goes_whole_because_our_own_door_judges_it(stack_of: StackOf) -> None:
    resources, _ = declared(stack_of("dev"))
    role = next(item for item in resources if item.name == "modal-tides")
    assert "Condition" in role.wanted["assumeRolePolicy"]["Statement"][0]
