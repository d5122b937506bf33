"""Which run this is: named by configuration and data, and never gone on with under others. Reads the results."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trimtab.errors import UsageError
from trimtab.storage.manifests import sha256_of
from trimtab.storage.runs import RunRecord, config_digest, run_directory

if TYPE_CHECKING:
    from pathlib import Path

    from training.harness.config import JobConfig


def fresh_record(
    job: str, config: JobConfig, data_sha256: str, results: Path, run_id: str | None, git_commit: str | None
) -> RunRecord:
    values: dict[str, Any] = config.model_dump(mode="json")
    config_sha256 = config_digest(values)
    name = run_id or f"{job}-{hashlib.sha256((config_sha256 + data_sha256).encode()).hexdigest()[:12]}"
    directory = run_directory(results, job=job, run_id=name, today=datetime.now(UTC).date())
    return RunRecord(
        job=job,
        run_id=name,
        run_directory=directory.relative_to(results).as_posix(),
        commit=git_commit,
        config=values,
        config_sha256=config_sha256,
        data_sha256=data_sha256,
    )


def check_same_run(before: RunRecord, now: RunRecord) -> None:
    if before.config_sha256 != now.config_sha256:
        keys = sorted({*before.config, *now.config})
        changed = [key for key in keys if before.config.get(key) != now.config.get(key)]
        why = f"it was begun with another configuration ({', '.join(changed)})"
    elif before.data_sha256 != now.data_sha256:
        why = f"it was begun with other data ({before.data_sha256[:12]}, now {now.data_sha256[:12]})"
    elif before.job != now.job:
        why = f"it is a run of the job {before.job}"
    else:
        return
    raise UsageError(
        f"the run {now.run_id} cannot go on", why=why, remedy="give another --run-id, or what it was begun with"
    )


def check_same_origin(state: dict[str, Any], record: RunRecord, path: Path) -> None:
    for key in ("config_sha256", "data_sha256"):
        if state[key] != getattr(record, key):
            raise UsageError(
                f"{path} cannot be gone on from",
                why=f"its {key} is {state[key][:12]}, this run's is {getattr(record, key)[:12]}",
                remedy="give another --run-id, or what it was begun with",
            )


def is_finished(record: RunRecord, results: Path) -> bool:
    """Say whether the record ends and its files are what it says; where one is damaged, it is made again."""
    paths = [(results / artifact.path, artifact.sha256) for artifact in record.artifacts]
    return record.outcome == "finished" and all(path.is_file() and sha256_of(path) == sha for path, sha in paths)
