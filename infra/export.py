"""`python -m infra.export`: what a stack declares, as Terraform's JSON, for scanners, which read that. Writes nothing.

Nobody applies it. Pulumi's AWS provider is Terraform's underneath, so types and fields have the same names but for
their spelling. Where a field names another resource of the stack, it becomes a reference: scanners look across those.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.embedded import record_stack
from trimtab.catalogue import load_catalogue
from trimtab.catalogue.model import STACKS
from trimtab.console import Console
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from infra.graph import Graph, Resource

# What the two spell differently beyond camelCase: names run together, and lists of blocks, plural with Pulumi only.
_TYPES: Final = {"open_id_connect": "openid_connect"}
_FIELDS: Final = {
    "clientIdLists": "client_id_list",
    "notifications": "notification",
    "rules": "rule",
    "transitions": "transition",
}


def main(argv: Sequence[str]) -> int:
    """Print a stack's export; return the exit code of the house."""
    parser = argparse.ArgumentParser(prog="python -m infra.export")
    parser.add_argument("--catalogue", type=Path, default=Path(__file__).parent.parent / "trimtab.yaml")
    parser.add_argument("--stack", choices=STACKS, default=STACKS[0])
    arguments = parser.parse_args(argv)
    try:
        graph = record_stack(load_catalogue(arguments.catalogue), arguments.stack)
    except TrimtabError as error:
        Console().failure(error)
        return error.exit_code
    sys.stdout.write(json.dumps(terraform_of(graph), indent=2) + "\n")
    return 0


def terraform_of(graph: Graph) -> dict[str, Any]:
    """Return a stack as a document of Terraform's JSON configuration: resources, and each IAM policy as data once more.

    {"resource": {type: {name: fields}}, "data": {"aws_iam_policy_document": {name: {"statement": [...]}}}}
    """
    resources: dict[str, dict[str, Any]] = {}
    policies: dict[str, Any] = {}
    order = {resource.urn: resource for resource in graph.resources if resource.custom}
    for resource in order.values():
        if resource.type.startswith("pulumi:providers:"):
            continue
        references: dict[str, str] = {}
        for urn, other in order.items():  # dependencies first: a bucket before its settings, which share its name
            if urn in resource.dependencies:
                references.setdefault(other.id, f"${{{_type_of(other)}.{other.name}.id}}")
        resources.setdefault(_type_of(resource), {})[resource.name] = _fields_of(resource.inputs, references)
        for key in ("policy", "assumeRolePolicy"):
            if key in resource.inputs and not resource.type.startswith("aws:ecr/"):
                statements = json.loads(resource.inputs[key])["Statement"]
                policies[resource.name] = {"statement": [_statement_of(statement) for statement in statements]}
    return {"resource": resources, "data": {"aws_iam_policy_document": policies}}


def _statement_of(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement in the words of Terraform's policy documents."""
    block: dict[str, Any] = {
        "sid": statement["Sid"],
        "effect": statement["Effect"],
        "actions": _listed(statement["Action"]),
    }
    if "Resource" in statement:
        block["resources"] = _listed(statement["Resource"])
    if "Principal" in statement:
        principal = statement["Principal"]
        kinds = principal if isinstance(principal, Mapping) else {"*": principal}
        block["principals"] = [{"type": kind, "identifiers": _listed(names)} for kind, names in kinds.items()]
    if "Condition" in statement:
        block["condition"] = [
            {"test": test, "variable": variable, "values": _listed(values)}
            for test, variables in statement["Condition"].items()
            for variable, values in variables.items()
        ]
    return block


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _type_of(resource: Resource) -> str:
    """Return a type as Terraform spells it: `aws:s3/bucketPolicy:BucketPolicy` is `aws_s3_bucket_policy`."""
    service, _, name = resource.type.removeprefix("aws:").replace("/", ":").split(":")
    snake = _snake(name)
    for ours, theirs in _TYPES.items():
        snake = snake.replace(ours, theirs)
    return f"aws_{service}_{snake}"


def _fields_of(value: Any, references: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            _FIELDS.get(key, _snake(key)): dict(inner) if key == "tags" else _fields_of(inner, references)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_fields_of(item, references) for item in value]
    return references.get(value, value) if isinstance(value, str) else value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
