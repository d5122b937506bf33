"""docker-deploy.yml: a push deploys the services whose inputs changed, and no other. Pure.

What changed is not read from the push: an image is named after its inputs, and what the registry does not hold is
built. So a deploy that failed is tried again by the next push, and a push that was forced hides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.catalogue import Catalogue
from workflows.parts import (
    Job,
    all_green,
    checkout,
    deploying_branch,
    deploying_environment,
    free_disk,
    job,
    one_at_a_time,
    script,
    set_up,
    summary,
    workflow,
)
from workflows.registry_access import registry_permissions, sign_in
from workflows.yaml_text import Explained, Value


def docker_deploy(catalogue: Catalogue) -> Job:
    """Return the workflow."""
    everything = {
        "description": "Also what did not change",
        "type": "boolean",
        "default": False,
    }
    return workflow(
        "docker-deploy",
        on={
            "push": {"branches": [deploying_branch(catalogue)]},
            "workflow_dispatch": {"inputs": {"everything": everything}},
        },
        concurrency=one_at_a_time("deploy"),
        jobs={
            "changed": _changed(catalogue),
            "deploy": _deploy(catalogue),
            "all-green": all_green(catalogue, ("changed", "deploy"), may_skip=True),
        },
    )


def _changed(catalogue: Catalogue) -> Job:
    serving = " --serving" if catalogue.ci.shares_disk else ""  # a machine of one's own, which serves
    return job(
        "What changed",
        catalogue,
        minutes=20,
        permissions=registry_permissions(catalogue, "read"),
        keys={
            # To AWS the environment is who asks; elsewhere nobody need approve a look.
            **(deploying_environment(catalogue) if catalogue.registry.kind == "ecr" else {}),
            "outputs": {"images": "${{ steps.changed.outputs.images }}"},
        },
        steps=(
            checkout(),
            set_up(),
            *sign_in(catalogue),
            {
                "name": "Compare with the registry",
                "id": "changed",
                "env": {"EVERYTHING": "${{ inputs.everything || '' }}"},
                "run": script(
                    f"images=$(./deploy.sh images changed --matrix{serving} ${{EVERYTHING:+--all}})",
                    'echo "images=$images" >> "$GITHUB_OUTPUT"',
                ),
            },
        ),
    )


def _deploy(catalogue: Catalogue) -> Job:
    return job(
        "${{ matrix.service }} (${{ matrix.variant }})",
        catalogue,
        minutes=60,
        permissions=registry_permissions(catalogue, "write"),
        keys={
            "needs": "changed",
            "if": "needs.changed.outputs.images != '[]'",
            **deploying_environment(catalogue),
            "strategy": _strategy(catalogue),
        },
        steps=(
            checkout(),
            set_up(),
            free_disk(catalogue),
            *sign_in(catalogue),
            {
                # VERB: a service's first variant is released as well (deploy), the others are only built.
                "name": "Build, verify, push",
                "env": {
                    "VERB": "${{ matrix.verb }}",
                    "SERVICE": "${{ matrix.service }}",
                    "VARIANT": "${{ matrix.variant }}",
                },
                "run": './deploy.sh images "$VERB" "$SERVICE" --variant "$VARIANT" --push',
            },
            summary(),
        ),
    )


def _strategy(catalogue: Catalogue) -> Mapping[str, Value]:
    matrix = {"include": "${{ fromJSON(needs.changed.outputs.images) }}"}
    if catalogue.ci.shares_disk:
        return Explained(
            "The jobs of this runner share one disk: one after the other.",
            {"fail-fast": False, "max-parallel": 1, "matrix": matrix},
        )
    return Explained(
        "Each job has a machine, and so a disk, of its own: side by side.", {"fail-fast": False, "matrix": matrix}
    )
