"""The model of a finished run, checked before it is trusted. Reads a results folder only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from trimtab.errors import UsageError
from trimtab.storage.manifests import sha256_of
from trimtab.storage.runs import read_run

if TYPE_CHECKING:
    from pathlib import Path

    from trimtab.storage.runs import RunRecord

_MODEL = "model.pt"


def finished_model(results: Path, run_id: str, *, job: str) -> tuple[RunRecord, dict[str, Any]]:
    """Return a run's record and the weights that it left. Raises UsageError when there are none, or other ones."""
    record = read_run(results, run_id)
    model = next((item for item in record.artifacts if item.name == _MODEL), None) if record else None
    if record is None:
        why = f"{results / 'runs'} has no record of it"
    elif record.job != job:
        why = f"it is a run of the job {record.job}"
    elif record.outcome != "finished" or model is None:
        why = f"its last attempt ended as {record.outcome}"
    elif not (results / model.path).is_file() or sha256_of(results / model.path) != model.sha256:
        why = f"{results / model.path} is missing or damaged"
    else:
        weights: dict[str, Any] = torch.load(results / model.path, weights_only=True)
        return record, weights
    raise UsageError(
        f"the run {run_id} has no model of the job {job}",
        why=why,
        remedy=f"name a finished run of `python -m training.{job}`; the same command again ends an unfinished one",
    )
