"""How a job signs in to the registry of the catalogue: the permissions that it takes, and the steps. Pure.

Passwords go by standard input; they stand in no command line and in no file of the repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from trimtab.catalogue import Catalogue
from workflows.parts import DEPLOYMENT_ROLE, ID_TOKEN, Step, aws_role, script
from workflows.yaml_text import Noted, Value

_OUTSIDE: Final = "zizmor: ignore[secrets-outside-env] the branch that may deploy has no environment of its own"
# Without a repository in the catalogue: the one that this runs in. A registry's names are lower-case.
_GHCR_ADDRESS: Final = 'echo "TRIMTAB_REGISTRY=ghcr.io/${GITHUB_REPOSITORY,,}" >> "$GITHUB_ENV"'
_WHY: Final = {"read": "asks the registry which images it holds", "write": "pushes images"}


def registry_permissions(catalogue: Catalogue, access: Literal["read", "write"]) -> Mapping[str, Value]:
    """Return what a job must be allowed to see, or to push, images."""
    match catalogue.registry.kind:
        case "ghcr":
            return {"packages": Noted(access, _WHY[access])}
        case "ecr":
            return {"id-token": ID_TOKEN}
        case _:
            return {}


def sign_in(catalogue: Catalogue) -> tuple[Step, ...]:
    """Return the steps that sign in."""
    match catalogue.registry.kind:
        case "ghcr":
            return (
                {
                    "name": "Sign in to the registry",
                    "env": {"ACTOR": "${{ github.actor }}", "TOKEN": "${{ github.token }}"},
                    "run": script(
                        *[_GHCR_ADDRESS] * (catalogue.github is None),
                        'docker login ghcr.io --username "$ACTOR" --password-stdin <<< "$TOKEN"',
                    ),
                },
            )
        case "ecr":
            return (
                aws_role(DEPLOYMENT_ROLE, catalogue),
                {
                    "name": "Sign in to the registry",
                    "env": {"ROLE": f"${{{{ vars.{DEPLOYMENT_ROLE} }}}}", "REGION": catalogue.aws.region},
                    "run": script(
                        'registry=$(cut -d : -f 5 <<< "$ROLE").dkr.ecr.$REGION.amazonaws.com',
                        'echo "TRIMTAB_REGISTRY=$registry" >> "$GITHUB_ENV"',
                        'aws ecr get-login-password | docker login "$registry" --username AWS --password-stdin',
                    ),
                },
            )
        case _:
            return (
                {
                    "name": "Sign in to the registry",
                    "if": "${{ vars.TRIMTAB_REGISTRY_USER != '' }}",
                    "env": {
                        "REGISTRY": catalogue.registry.address,
                        "USERNAME": "${{ vars.TRIMTAB_REGISTRY_USER }}",
                        "PASSWORD": Noted("${{ secrets.TRIMTAB_REGISTRY_PASSWORD }}", _OUTSIDE),
                    },
                    "run": 'docker login "$REGISTRY" --username "$USERNAME" --password-stdin <<< "$PASSWORD"',
                },
            )
