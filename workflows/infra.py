"""infra.yml: the Pulumi program on the embedded AWS for everybody, and on AWS where the catalogue says who may. Pure.

Pull requests look, by the role that can only read; the branch or environment of the catalogue applies. Neither has a
key: GitHub's token is handed to AWS for credentials that last an hour.
"""

from __future__ import annotations

from typing import Final

from trimtab.catalogue import Catalogue
from workflows.parts import (
    DEPLOYMENT_ROLE,
    ID_TOKEN,
    PREVIEW_ROLE,
    STACK,
    Job,
    Step,
    aws_role,
    checkout,
    deploying_branch,
    deploying_environment,
    job,
    set_up,
    workflow,
)
from workflows.yaml_text import Explained, Noted, Value

NO_ENVIRONMENT: Final = "zizmor: ignore[secrets-outside-env] an environment would be another subject to AWS"


def infra(catalogue: Catalogue) -> Job:
    """Return the workflow."""
    jobs: dict[str, Job] = {"embedded": _embedded(catalogue)}
    if catalogue.github is not None:
        jobs |= {"preview": _preview(catalogue), "up": _up(catalogue)}
    return workflow(
        "infra",
        on={"push": {"branches": [deploying_branch(catalogue)]}, "pull_request": {}, "workflow_dispatch": {}},
        concurrency={"group": "infra-${{ github.ref }}", "cancel-in-progress": False},
        jobs=jobs,
    )


def _embedded(catalogue: Catalogue) -> Job:
    return Explained(
        "The same program on an embedded AWS: no account, nothing to sign in to.",
        job(
            "Embedded AWS",
            catalogue,
            minutes=20,
            keys={"env": {"TRIMTAB_STATE": "${{ github.workspace }}/.trimtab/infra-workflow"}},
            steps=(
                checkout(),
                set_up(),
                {"name": "Up", "run": "./deploy.sh --provision --embedded"},
                {"name": "Drift", "run": "./deploy.sh infra drift --embedded"},
                {"name": "Who may do what", "run": f"./deploy.sh infra explain{_TO_SUMMARY}"},
                {"name": "Destroy", "run": "./deploy.sh infra destroy --embedded"},
            ),
        ),
    )


def _preview(catalogue: Catalogue) -> Job:
    own = "github.event_name == 'pull_request' && github.event.pull_request.head.repo.full_name == github.repository"
    return Explained(
        "A fork's pull request gets no token from GitHub: it has nothing to look with.",
        job(
            "Preview on AWS",
            catalogue,
            minutes=30,
            permissions={"id-token": ID_TOKEN},
            keys={"if": own, "env": pulumi_settings(catalogue, outside=True)},
            steps=(
                checkout(),
                set_up(),
                aws_role(PREVIEW_ROLE, catalogue),
                {"name": "Preview", "run": f"./deploy.sh infra preview --stack {STACK}{_TO_SUMMARY}"},
            ),
        ),
    )


def _up(catalogue: Catalogue) -> Job:
    environment = deploying_environment(catalogue)
    branch = deploying_branch(catalogue)
    steps: tuple[Step, ...] = (
        checkout(),
        set_up(),
        aws_role(DEPLOYMENT_ROLE, catalogue),
        {"name": "Up", "run": f"./deploy.sh --provision --stack {STACK}{_TO_SUMMARY}"},
        {"name": "Drift", "run": f"./deploy.sh infra drift --stack {STACK}"},
    )
    return Explained(
        "A change of what CI may not change is refused by AWS: a person applies it.",
        job(
            "Up on AWS",
            catalogue,
            minutes=50,
            permissions={"id-token": ID_TOKEN},
            keys={
                "needs": "embedded",
                "if": f"github.event_name != 'pull_request' && github.ref == 'refs/heads/{branch}'",
                **environment,
                "env": pulumi_settings(catalogue),
            },
            steps=steps,
        ),
    )


def pulumi_settings(catalogue: Catalogue, *, outside: bool = False) -> dict[str, Value]:
    """Return the environment that Pulumi needs; `outside`: in a job that cannot be in the deploying environment."""
    outside = outside or not deploying_environment(catalogue)
    secret = "${{ secrets.PULUMI_CONFIG_PASSPHRASE }}"  # noqa: S105 - a reference; the value is GitHub's to keep
    passphrase = Noted(secret, NO_ENVIRONMENT) if outside else secret
    state = catalogue.github.state if catalogue.github else None
    if state is None:
        return {"PULUMI_BACKEND_URL": "${{ vars.PULUMI_BACKEND_URL }}", "PULUMI_CONFIG_PASSPHRASE": passphrase}
    backend = f"s3://{state.bucket}/{state.prefix.rstrip('/')}?region={catalogue.aws.region}"
    return {"PULUMI_BACKEND_URL": backend, "PULUMI_CONFIG_PASSPHRASE": passphrase}


# The result on the run's page as well; the pipe hides no exit code (bash -eo pipefail).
_TO_SUMMARY: Final = " | (echo '```'; tee /dev/stderr; echo '```') >> \"$GITHUB_STEP_SUMMARY\""
