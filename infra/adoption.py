"""What `pulumi import` is told, so that the program finds in its state what stood before it. Reads AWS only.

A resource is taken in with the settings that it has, so that the next preview shows each of them against what is
declared, and with the provider and the parent that the program gives it: with others it would be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infra.kinds import Clients, kind_of
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from infra.graph import Graph, Resource


def provider_urn(exported: Mapping[str, Any]) -> str | None:
    """Return the URN of the program's AWS provider in an exported state, or None."""
    resources = exported["deployment"].get("resources", [])
    urns = (r["urn"] for r in resources if r["type"].startswith("pulumi:providers:"))
    return next((urn for urn in urns if not urn.rpartition("::")[2].startswith("default")), None)


def import_document(
    names: Sequence[str], graph: Graph, exported: Mapping[str, Any], clients: Clients
) -> dict[str, Any]:
    """Return the import file for declared resources of these names, and for what is set on them.

    Its format: https://www.pulumi.com/docs/iac/adopting-pulumi/import/#bulk-import-operations. Raises UsageError.
    """
    held = {_place(resource["urn"]): resource["urn"] for resource in exported["deployment"].get("resources", [])}
    chosen = [item for name in names for item in _with_settings(_named(name, graph), graph, clients)]
    components = {item.urn: item for item in graph.resources if item.urn in {one.parent for one in chosen}}
    return {
        "nameTable": {
            "aws": provider_urn(exported),
            **{item.name: held[_place(urn)] for urn, item in components.items() if _place(urn) in held},
        },
        "resources": [
            *(
                {"type": item.type, "name": item.name, "component": True}
                for urn, item in components.items()
                if _place(urn) not in held
            ),
            *(
                {
                    "type": item.type,
                    "name": item.name,
                    "id": item.id,
                    "parent": components[item.parent].name,
                    "provider": "aws",
                }
                for item in chosen
                if _place(item.urn) not in held
            ),
        ],
    }


def _place(urn: str) -> str:
    """Return the part of a URN that is the same here and in Pulumi's state: types and name, without the project."""
    return urn.split("::", 2)[2].removeprefix("pulumi:pulumi:Stack$")  # the SDK's mocks add it, the engine does not


def _named(name: str, graph: Graph) -> Resource:
    own = {item.name: item for item in graph.resources if _can_be_adopted(item)}
    if name not in own:
        raise UsageError(
            f"{name} is nothing that can be adopted",
            why=f"the program declares {', '.join(own)}; settings and rights follow the resource they are of",
            remedy="name one of them: --resource NAME",
        )
    return own[name]


def _can_be_adopted(item: Resource) -> bool:
    return item.custom and not item.type.startswith("pulumi:providers:") and not kind_of(item.type).is_setting


def _with_settings(owner: Resource, graph: Graph, clients: Clients) -> list[Resource]:
    """Return a resource and what is set on it already."""
    if kind_of(owner.type).read(clients, owner.id) is None:
        raise UsageError(
            f"there is no {owner.id} to adopt",
            why=f"{owner.name} ({owner.type}) does not exist in this account and region",
            remedy="check its name in trimtab.yaml and the account; trimtab infra up makes what does not exist yet",
        )
    settings = [
        item
        for item in graph.resources
        if owner.urn in item.dependencies
        and item.id == owner.id
        and kind_of(item.type).is_setting
        and kind_of(item.type).read(clients, item.id) is not None
    ]
    return [owner, *settings]
