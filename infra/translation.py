"""The program's resources in the terms of the embedded AWS, and a note for each thing that it cannot hold. Pure.

moto evaluates actions and resources, not conditions. It takes an Allow as if its condition always held, and a Deny
likewise: the bucket's refusal of plain HTTP would lock everybody out. So a policy goes there without its conditions,
a conditional Deny not at all, and both are said. Trust policies go whole: the embedded AWS's own door judges those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from infra.graph import Resource

_POLICY_KEYS: Final = ("policy", "assumeRolePolicy")
_UNHELD: Final = {
    "aws:iam/policy:Policy": "held, and bounds nobody: moto does not apply a permissions boundary.",
    "aws:s3/bucketLogging:BucketLogging": "an empty stand-in takes the logs, where no such bucket is there.",
    "aws:budgets/budget:Budget": "held, and never reckoned. moto does not tell its addresses and tags, so that a "
    "change of them is not seen.",
}
_ACCESS_POLICIES: Final = ("aws:s3/bucketPolicy:BucketPolicy", "aws:iam/rolePolicy:RolePolicy")


def translate(resource: Resource) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return a resource's inputs as the embedded AWS is to hold them, policies parsed, and what was left out."""
    wanted = {key: json.loads(value) if key in _POLICY_KEYS else value for key, value in resource.inputs.items()}
    if resource.type not in _ACCESS_POLICIES:
        return wanted, (f"{resource.name}: {_UNHELD[resource.type]}",) if resource.type in _UNHELD else ()
    statements: list[Mapping[str, Any]] = []
    notes: list[str] = []
    for statement in wanted["policy"]["Statement"]:
        if "Condition" not in statement:
            statements.append(statement)
            continue
        keys = ", ".join(sorted({key for tests in statement["Condition"].values() for key in tests}))
        name = f"{resource.name}, statement {statement['Sid']}"
        if statement["Effect"] == "Deny":
            notes.append(f"{name}: left out. It denies depending on {keys}, and moto would deny to everybody.")
        else:
            statements.append({key: value for key, value in statement.items() if key != "Condition"})
            notes.append(f"{name}: allowed without its condition on {keys}, which moto does not evaluate.")
    return {**wanted, "policy": {**wanted["policy"], "Statement": statements}}, tuple(notes)
