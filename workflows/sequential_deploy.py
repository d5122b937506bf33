"""sequential-deploy.yml: a person deploys one service or all, one after the other on one disk. Pure.

On GitHub's runners each job has a disk of its own, so that a limit on parallel jobs saves none: what shall share a disk
must be steps of one job. A service that fails does not stop those behind it; the job fails at its end.
"""

from __future__ import annotations

from typing import Final

from trimtab.catalogue import Catalogue
from workflows.parts import (
    Job,
    Step,
    checkout,
    deploying_environment,
    disk_need,
    free_disk,
    job,
    one_at_a_time,
    set_up,
    summary,
    workflow,
)
from workflows.registry_access import registry_permissions, sign_in

_ALL: Final = "all"


def sequential_deploy(catalogue: Catalogue) -> Job:
    """Return the workflow."""
    inputs = {
        "service": {
            "description": "What to deploy",
            "type": "choice",
            "options": (_ALL, *catalogue.services),
            "default": _ALL,
        },
        "variant": {
            "description": "Which build of it",
            "type": "choice",
            "options": _variants(catalogue),
            "default": _variants(catalogue)[0],
        },
        "cleanup_after": {
            "description": "At the end, make room again for the next run where there is too little",
            "type": "boolean",
            "default": True,
        },
    }
    return workflow(
        "sequential-deploy",
        on={"workflow_dispatch": {"inputs": inputs}},
        concurrency=one_at_a_time("deploy"),
        jobs={
            "deploy": job(
                "Deploy",
                catalogue,
                minutes=120,
                permissions=registry_permissions(catalogue, "write"),
                keys=deploying_environment(catalogue),
                steps=(
                    checkout(),
                    set_up(),
                    free_disk(catalogue),
                    *sign_in(catalogue),
                    {"name": "Ready", "id": "ready", "run": "./deploy.sh --version"},
                    *(_deploy(name, catalogue) for name in catalogue.services),
                    summary(),
                    {
                        "name": "Clean up",
                        "if": "${{ always() && inputs.cleanup_after && steps.setup.outcome == 'success' }}",
                        "run": f"./deploy.sh --cleanup-disk --need {disk_need(catalogue)}",
                    },
                ),
            )
        },
    )


def _deploy(name: str, catalogue: Catalogue) -> Step:
    conditions = [
        "!cancelled()",
        "steps.ready.outcome == 'success'",
        f"(inputs.service == '{_ALL}' || inputs.service == '{name}')",
    ]
    variants = tuple(catalogue.services[name].variants)
    if set(variants) != set(_variants(catalogue)):
        # Of all, only those that have the variant; one that was named and lacks it says so itself.
        conditions[2] = (
            f"(inputs.service == '{name}' || (inputs.service == '{_ALL}' && "
            + " || ".join(f"inputs.variant == '{variant}'" for variant in variants)
            + "))"
        )
    return {
        "name": name,
        "if": f"${{{{ {' && '.join(conditions)} }}}}",
        "env": {"VARIANT": "${{ inputs.variant }}"},
        "run": f'./deploy.sh --deploy-seq {name} --variant "$VARIANT" --push',
    }


def _variants(catalogue: Catalogue) -> tuple[str, ...]:
    return tuple(dict.fromkeys(variant for service in catalogue.services.values() for variant in service.variants))
