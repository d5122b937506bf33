"""What differs between what is declared and what is there, as small as it can be said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.difference import differences, show

READ = {"Sid": "Read", "Effect": "Allow"}
WRITE = {"Sid": "Write", "Effect": "Allow"}


def found(declared: Any, there: Any) -> list[tuple[str, Any, Any]]:
    return [(one.field, one.declared, one.there) for one in differences("x", declared, there)]


@pytest.mark.parametrize(
    ("declared", "there", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"b": 3}, [("x.a", 1, None), ("x.b", 2, 3)]),
        (json.dumps({"a": 1}), {"a": 1}, []),
        (json.dumps([1]), json.dumps([2]), [("x", [1], [2])]),
        ("{no json", "{none either", [("x", "{no json", "{none either")]),
        ([READ, WRITE], [READ, {**WRITE, "Effect": "Deny"}], [("x[Write].Effect", "Allow", "Deny")]),
        ([READ], [READ, WRITE], [("x[Write]", None, WRITE)]),
        ([READ, WRITE], [WRITE, READ], [("x", [READ, WRITE], [WRITE, READ])]),
        ([READ, READ], [READ], [("x", [READ, READ], [READ])]),
        ([READ, {}], [READ], [("x", [READ, {}], [READ])]),
        ([READ, "Write"], [READ], [("x", [READ, "Write"], [READ])]),
        ([READ], None, [("x", [READ], None)]),
    ],
)
def test_only_what_differs_is_named_by_its_path(declared: Any, there: Any, expected: list[Any]) -> None:
    assert found(declared, there) == expected


def test_a_long_value_is_cut_and_nothing_is_called_nothing() -> None:
    item = {"field": "policy", "declared": "x" * 500, "there": None}
    first, second = show({"action": "update", "name": "n", "id": "i", "differences": [item]})
    assert first == "update n (i)"
    assert second == f'    policy: declared "{"x" * 159}..., there is nothing'
