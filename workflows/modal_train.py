"""modal-train.yml: a person starts a training run on Modal, and looks at it now and later. Pure.

A job on GitHub's runners dies at six hours, a training run lasts a day: so it is started detached, watched for a while,
and left alone. Looking again is another dispatch, with the call's id.
"""

from __future__ import annotations

from typing import Final

from trimtab.catalogue import Catalogue
from workflows.parts import Job, Step, checkout, job, script, set_up, workflow
from workflows.yaml_text import Explained, Value

_WATCH_MINUTES: Final = 45
_TOKENS: Final[dict[str, Value]] = {
    "MODAL_TOKEN_ID": "${{ secrets.MODAL_TOKEN_ID }}",
    "MODAL_TOKEN_SECRET": "${{ secrets.MODAL_TOKEN_SECRET }}",
}


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
        "resume": {"description": "Go on from the newest complete checkpoint", "type": "boolean", "default": True},
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
    start: Step = {
        "name": "Start, detached",
        "id": "start",
        "env": {"JOB": "${{ inputs.job }}", "CONFIG": "${{ inputs.config }}", "RESUME": "${{ inputs.resume || '' }}"},
        "run": script(
            'call=$(scripts/modal-train "$JOB" ${CONFIG:+--config "$CONFIG"} ${RESUME:+--resume})',
            'echo "call=$call" >> "$GITHUB_OUTPUT"',
            'echo "Started $JOB as call \\`$call\\`." >> "$GITHUB_STEP_SUMMARY"',
        ),
    }
    return Explained(
        "Modal's own tokens, kept in the environment `modal`: its rules say who may spend money.",
        job(
            "Launch",
            catalogue,
            minutes=30,
            keys={
                "if": "inputs.call == ''",
                "environment": "modal",
                "env": _TOKENS,
                "outputs": {"call": "${{ steps.start.outputs.call }}"},
            },
            steps=(checkout(), set_up(), start),
        ),
    )


def _watch(catalogue: Catalogue) -> Job:
    watch: Step = {
        "name": "Watch",
        "env": {"CALL": "${{ inputs.call || needs.launch.outputs.call }}"},
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
                "environment": "modal",
                "env": _TOKENS,
            },
            steps=(checkout(), set_up(), watch),
        ),
    )
