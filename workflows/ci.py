"""ci.yml: what every push and every pull request must pass, by the two commands that a person runs. Pure."""

from __future__ import annotations

from trimtab.catalogue import Catalogue
from workflows.parts import Job, all_green, checkout, deploying_branch, job, set_up, workflow


def ci(catalogue: Catalogue) -> Job:
    """Return the workflow."""
    return workflow(
        "ci",
        on={"push": {"branches": [deploying_branch(catalogue)]}, "pull_request": {}},
        concurrency={
            "group": "ci-${{ github.ref }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        jobs={
            "check": job(
                "Checks",
                catalogue,
                minutes=20,
                steps=(checkout(), set_up(dev=True), {"name": "scripts/check", "run": "scripts/check"}),
            ),
            "test": job(
                "Tests",
                catalogue,
                minutes=60,
                steps=(checkout(), set_up(dev=True), {"name": "scripts/test", "run": "scripts/test"}),
            ),
            "all-green": all_green(catalogue, ("check", "test")),
        },
    )
