"""modal-train.yml: a person starts a training run on Modal, and looks at it now and later. Pure.

A job on GitHub's runners dies at six hours, a training run lasts a day: so it is started detached, watched for a while,
and left alone. Looking again is another dispatch, with the call's id.
"""

from __future__ import annotations

from typing import Final

from trimtab.catalogue import Catalogue
from workflows.infra import NO_ENVIRONMENT, pulumi_settings
from workflows.parts import (
    DEPLOYMENT_ROLE,
    ID_TOKEN,
    STACK,
    Job,
    Step,
    aws_role,
    checkout,
    deploying_environment,
    job,
    script,
    set_up,
    workflow,
)
from workflows.yaml_text import Explained, Noted, Value

_WATCH_MINUTES: Final = 45
_TOKENS: Final = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")


def modal_train(catalogue: Catalogue) -> Job:
    """Return the workflow."""
    jobs = tuple(catalogue.jobs)
    inputs = {
        "job": {"description": "What to train", "type": "choice", "options": jobs, "default": jobs[0]},
        "config": {
            "description": "Its hyperparameters: a file below configs/; empty: the job's own",
            "type": "string",
            "default": "",
        },
        "resume": {
            "description": "Only go on from a checkpoint: refuse to begin anew",
            "type": "boolean",
            "default": False,
        },
        "call": {
            "description": "Start nothing: look at this call, which an earlier run started",
            "type": "string",
            "default": "",
        },
    }
    return workflow(
        "modal-train",
        on={"workflow_dispatch": {"inputs": inputs}},
        concurrency={
            "group": "modal-train-${{ inputs.job }}-${{ inputs.call }}",
            "cancel-in-progress": False,
        },
        jobs={"launch": _launch(catalogue), "watch": _watch(catalogue)},
    )


def _launch(catalogue: Catalogue) -> Job:
    deploys = catalogue.github is not None
    wanted = {"JOB": "${{ inputs.job }}", "CONFIG": "${{ inputs.config }}", "RESUME": "${{ inputs.resume || '' }}"}
    start: Step = {
        "name": "Start, detached",
        "id": "start",
        "env": {
            **wanted,
            **_tokens(catalogue),
            **({**pulumi_settings(catalogue), "TRIMTAB_STACK": STACK} if deploys else {}),
        },
        "run": script(
            'call=$(scripts/modal-train "$JOB" ${CONFIG:+--config "$CONFIG"} ${RESUME:+--resume})',
            'echo "call=$call" >> "$GITHUB_OUTPUT"',
            'echo "Started $JOB as call \\`$call\\`." >> "$GITHUB_STEP_SUMMARY"',
        ),
    }
    return Explained(
        "Which bucket and which role, the infrastructure's outputs say; the keys to Modal are its own tokens.",
        job(
            "Launch",
            catalogue,
            minutes=30,
            permissions={"id-token": ID_TOKEN} if deploys else {},
            keys={
                "if": "inputs.call == ''",
                **_environment(catalogue),
                "outputs": {"call": "${{ steps.start.outputs.call }}"},
            },
            steps=(checkout(), set_up(), *((aws_role(DEPLOYMENT_ROLE, catalogue),) if deploys else ()), start),
        ),
    )


def _watch(catalogue: Catalogue) -> Job:
    watch: Step = {
        "name": "Watch",
        "env": {"CALL": "${{ inputs.call || needs.launch.outputs.call }}", **_tokens(catalogue)},
        "run": f'scripts/modal-watch "$CALL" --minutes {_WATCH_MINUTES} | tee -a "$GITHUB_STEP_SUMMARY"',
    }
    return Explained(
        f"Far below the six hours at which a job dies: after {_WATCH_MINUTES} minutes the run goes on by itself.",
        job(
            "Watch",
            catalogue,
            minutes=_WATCH_MINUTES + 20,
            keys={
                "needs": "launch",
                "if": "${{ !cancelled() && (inputs.call != '' || needs.launch.result == 'success') }}",
                **_environment(catalogue),
            },
            steps=(checkout(), set_up(), watch),
        ),
    )


def _environment(catalogue: Catalogue) -> dict[str, Value]:
    """Return the GitHub environment that holds Modal's tokens.

    A job has one environment, and to AWS it is who asks: the deploying one, where there is one.
    """
    return {"environment": "modal"} if catalogue.github is None else dict(deploying_environment(catalogue))


def _tokens(catalogue: Catalogue) -> dict[str, Value]:
    found = {name: f"${{{{ secrets.{name} }}}}" for name in _TOKENS}
    if _environment(catalogue):
        return {**found}
    return {name: Noted(secret, NO_ENVIRONMENT) for name, secret in found.items()}
