"""modal-train.yml: a person starts a training run on Modal, and looks at it now and later. Pure.

A job on GitHub's runners dies at six hours, a training run lasts a day: so it is sent, followed for a while, and left
alone. Looking again is another dispatch, with the run's id: its launch lies on the Volume, for every machine to see.
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

_FOLLOWED_MINUTES: Final = 45
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
        "profile": {
            "description": "Another machine than the job's own; deploy/modal/profiles/ names them",
            "type": "string",
            "default": "",
        },
        "max_usd": {
            "description": "In dollars: refuse a run that is likely to cost more; stop it there, with a checkpoint",
            "type": "string",
            "default": "",
        },
        "run": {
            "description": "Start nothing: follow this run, which was started before",
            "type": "string",
            "default": "",
        },
    }
    return workflow(
        "modal-train",
        on={"workflow_dispatch": {"inputs": inputs}},
        concurrency={
            "group": "modal-train-${{ inputs.job }}-${{ inputs.run }}",
            "cancel-in-progress": False,
        },
        jobs={"launch": _launch(catalogue), "follow": _follow(catalogue)},
    )


def _launch(catalogue: Catalogue) -> Job:
    deploys = catalogue.github is not None
    wanted = {
        "JOB": "${{ inputs.job }}",
        "CONFIG": "${{ inputs.config }}",
        "RESUME": "${{ inputs.resume || '' }}",
        "PROFILE": "${{ inputs.profile }}",
        "MAX_USD": "${{ inputs.max_usd }}",
    }
    start: Step = {
        "name": "Price and launch",
        "id": "start",
        "env": {
            **wanted,
            **_tokens(catalogue),
            **({**pulumi_settings(catalogue), "TRIMTAB_STACK": STACK} if deploys else {}),
        },
        "run": script(
            'launched=$(./deploy.sh train "$JOB" --on modal --json \\',
            '  ${CONFIG:+--config "$CONFIG"} ${RESUME:+--resume} \\',
            '  ${PROFILE:+--profile "$PROFILE"} ${MAX_USD:+--max-usd "$MAX_USD"})',
            'run=$(.venv/bin/python -P -c \'import json, sys; print(json.load(sys.stdin)["run_id"])\' <<< "$launched")',
            'echo "run=$run" >> "$GITHUB_OUTPUT"',
            './deploy.sh runs show "$run" | sed "s/^/    /" | tee -a "$GITHUB_STEP_SUMMARY"',
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
                "if": "inputs.run == ''",
                **_environment(catalogue),
                "outputs": {"run": "${{ steps.start.outputs.run }}"},
            },
            steps=(checkout(), set_up(), *((aws_role(DEPLOYMENT_ROLE, catalogue),) if deploys else ()), start),
        ),
    )


def _follow(catalogue: Catalogue) -> Job:
    follow: Step = {
        "name": "Follow",
        "env": {"RUN": "${{ inputs.run || needs.launch.outputs.run }}", **_tokens(catalogue)},
        "run": f'./deploy.sh runs follow --for {_FOLLOWED_MINUTES}min -- "$RUN"'
        ' | sed "s/^/    /" | tee -a "$GITHUB_STEP_SUMMARY"',
    }
    return Explained(
        f"Far below the six hours at which a job dies: after {_FOLLOWED_MINUTES} minutes the run goes on by itself.",
        job(
            "Follow",
            catalogue,
            minutes=_FOLLOWED_MINUTES + 20,
            keys={
                "needs": "launch",
                "if": "${{ !cancelled() && (inputs.run != '' || needs.launch.result == 'success') }}",
                **_environment(catalogue),
            },
            steps=(checkout(), set_up(), follow),
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
