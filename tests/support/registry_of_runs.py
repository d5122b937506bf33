"""Records and launches of runs, for the tests of the registry: a run of the job `tides`, at noon, on an A100."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from trimtab.storage.launches import Launch, Machine
from trimtab.storage.runs import Attempt, RunRecord, config_digest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
USD_PER_HOUR = 6.0
RESOURCES = """
import json
print(json.dumps({"tides": {"gpu": "A100-80GB", "gpu_count": 1, "cores": 32.0, "memory_mib": 131072, "disk_mib": 0,
                            "timeout_s": 86400, "retries": 10, "region": ""}}))
"""


def at(minutes: float) -> datetime:
    """Return so many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def launch(call_id: str = "fc-1", run_id: str = "r1", minutes: float = 0, **changes: Any) -> Launch:
    """Return a launch of a run that was predicted to take an hour and to cost six dollars."""
    values: dict[str, Any] = {
        "call_id": call_id,
        "app_id": "ap-1",
        "server": "modal",
        "job": "tides",
        "run_id": run_id,
        "profile": "train",
        "launched": at(minutes),
        "host": "desk",
        "commit": "abc",
        "config": "configs/modal/tides.yaml",
        "machine": Machine(
            gpu="A100-80GB",
            gpu_count=1,
            cores=32,
            memory_gib=128,
            timeout_s=86400,
            retries=10,
            usd_per_hour=USD_PER_HOUR,
        ),
        "prices_dated": "2026-10-31",
        "predicted_usd": {"low": 5.0, "likely": 6.0, "high": 9.0},
        "predicted_s": 3600.0,
    }
    return Launch(**{**values, **changes})


def record(run_id: str = "r1", *attempts: Attempt, config: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
    """Return a run's record."""
    values: dict[str, Any] = {
        "job": "tides",
        "run_id": run_id,
        "run_directory": f"checkpoints/tides/2026-03-01/{run_id}",
        "commit": "abc",
        "config": config or {"seed": 1},
        "config_sha256": config_digest(config or {"seed": 1}),
        "data_sha256": SHA256,
        "attempts": attempts,
    }
    return RunRecord(**{**values, **changes})


def attempt(begin: float, end: float | None = None, *, call: str | None = "fc-1", **changes: Any) -> Attempt:
    """Return an attempt whose container began and ended so many minutes after noon, and worked a minute less."""
    values: dict[str, Any] = {
        "began": at(begin),
        "started": at(begin + 1),
        "ended": None if end is None else at(end),
        "outcome": "running" if end is None else "finished",
        "first_step": 0,
        "last_step": 0,
        "call": call,
    }
    return Attempt(**{**values, **changes})
