"""What workflows share: the head of a file, steps, and the one job that says whether all is well. Pure.

Every value from outside reaches a script by its environment, never as text of the script. The only action of somebody
else's is checkout, by its commit; the rest are commands that a person calls too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trimtab.catalogue import Catalogue
from trimtab.units import GIB
from workflows.yaml_text import Explained, Noted, Value

Step = Mapping[str, Value]
Job = Mapping[str, Value]

CHECKOUT: Final = Noted("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1")
READ_CONTENTS: Final = Noted("read", "checks the repository out")
ID_TOKEN: Final = Noted("write", "asks GitHub for the token that AWS takes instead of a key")
STACK: Final = "prod"
PREVIEW_ROLE: Final = "TRIMTAB_GITHUB_ROLE_ARN_PREVIEW"
DEPLOYMENT_ROLE: Final = "TRIMTAB_GITHUB_ROLE_ARN_DEPLOYMENT"
"""The repository variables that hold the roles; `trimtab infra outputs --env` prints them under these very names."""


def workflow(name: str, *, on: Mapping[str, Value], concurrency: Mapping[str, Value], jobs: Mapping[str, Job]) -> Job:
    """Return a whole workflow: no permission but those that a job names, and scripts that stop at the first failure."""
    return {
        "name": name,
        "on": on,
        "permissions": {},
        "concurrency": concurrency,
        "defaults": {"run": {"shell": "bash"}},
        "jobs": jobs,
    }


def one_at_a_time(group: str) -> Mapping[str, Value]:
    """Return the concurrency of what must not be cut off: the next one waits."""
    return {"group": group, "cancel-in-progress": False}


def job(
    name: str,
    catalogue: Catalogue,
    *,
    minutes: int,
    steps: tuple[Step, ...],
    permissions: Mapping[str, Value] | None = None,
    keys: Mapping[str, Value] | None = None,
) -> Job:
    """Return a job on the catalogue's runner; `keys` are its further keys, which stand before the steps."""
    return {
        "name": name,
        "runs-on": catalogue.ci.runner,
        "timeout-minutes": minutes,
        **(keys or {}),
        "permissions": {"contents": READ_CONTENTS, **(permissions or {})},
        "steps": steps,
    }


def script(*lines: str) -> str:
    """Return the lines of a script; several become a block."""
    return lines[0] if len(lines) == 1 else "\n".join(lines) + "\n"


def checkout() -> Step:
    """Return the step that checks the repository out and leaves no credentials behind."""
    return {"name": "Check out", "uses": CHECKOUT, "with": {"persist-credentials": False}}


def set_up(*, dev: bool = False) -> Step:
    """Return the step that makes the environment; its output `started` is when the job began."""
    step: dict[str, Value] = {"name": "Set up", "id": "setup", "uses": "./.github/actions/setup"}
    return {**step, "with": {"dev": True}} if dev else step


def free_disk(catalogue: Catalogue) -> Step:
    """Return the step that frees the room which the catalogue's budget asks for; nothing, where there is room."""
    return {
        "name": "See to the disk",
        "uses": "./.github/actions/free-disk-space",
        "with": {"need": disk_need(catalogue)},
    }


def disk_need(catalogue: Catalogue) -> str:
    """Return the room that a run may take, as the catalogue's budget says, in whole GiB."""
    return f"{-(-catalogue.budgets.disk // GIB)}GiB"


def aws_role(role: str, catalogue: Catalogue) -> Step:
    """Return the step that signs in to AWS by OIDC, as the role that a variable of the repository names."""
    return {
        "name": "Sign in to AWS",
        "uses": "./.github/actions/aws-role",
        "with": {"role": f"${{{{ vars.{role} }}}}", "region": catalogue.aws.region},
    }


def summary() -> Step:
    """Return the step that writes what the job did, and what it took of the disk, on the run's page."""
    return {
        "name": "Summary",
        "if": "${{ always() && steps.setup.outcome == 'success' }}",
        "env": {"STARTED": "${{ steps.setup.outputs.started }}"},
        "run": './deploy.sh report --summary --since "$STARTED" >> "$GITHUB_STEP_SUMMARY"',
    }


def all_green(catalogue: Catalogue, needs: tuple[str, ...], *, may_skip: bool = False) -> Job:
    """Return the one job to require: it fails unless each job before it succeeded, or was skipped where it may be."""
    accepted = "success | skipped" if may_skip else "success"
    return Explained(
        "The one check to require: it fails when a job before it failed"
        + (" or was cancelled." if may_skip else ", was cancelled or was skipped."),
        {
            "name": "all-green",
            "runs-on": catalogue.ci.runner,
            "timeout-minutes": 5,
            "needs": needs,
            "if": "always()",
            "permissions": {},
            "steps": (
                {
                    "name": "All green",
                    "env": {"RESULTS": "${{ join(needs.*.result, ' ') }}"},
                    "run": script(
                        "for result in $RESULTS; do",
                        "  case $result in",
                        f"    {accepted}) ;;",
                        '    *) echo "not green: $RESULTS"; exit 1 ;;',
                        "  esac",
                        "done",
                    ),
                },
            ),
        },
    )


def deploying_branch(catalogue: Catalogue) -> str:
    """Return the branch whose pushes deploy."""
    return (catalogue.github.branch if catalogue.github else None) or "main"


def deploying_environment(catalogue: Catalogue) -> Mapping[str, Value]:
    """Return the GitHub environment that may deploy, as keys of a job; none where a branch may."""
    environment = catalogue.github.environment if catalogue.github else None
    return {"environment": environment} if environment else {}
