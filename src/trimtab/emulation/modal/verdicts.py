"""How each input ended: keeps its result, or lets it run once more when its function's policy says so.

Used by the scheduler alone. Touches the state; wakes who waits for a call's outputs.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from modal_proto import api_pb2

from trimtab.emulation.modal.bell import Bell
from trimtab.emulation.modal.history import History
from trimtab.emulation.modal.settings import PlaneSettings

Result = api_pb2.GenericResult

_FINAL: Final = frozenset({Result.GENERIC_STATUS_SUCCESS, Result.GENERIC_STATUS_TERMINATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attempt at an input, told by the attempt or by us. `started_at` is 0 where it never began."""

    result: api_pb2.GenericResult
    data_format: api_pb2.DataFormat.ValueType = api_pb2.DATA_FORMAT_UNSPECIFIED
    task_id: str = ""
    started_at: float = 0.0


def cancelled(why: str) -> Outcome:
    """Return the outcome of an input that somebody ended."""
    return Outcome(result=Result(status=Result.GENERIC_STATUS_TERMINATED, exception=why))


class Verdicts:
    """Judges inputs."""

    def __init__(
        self,
        *,
        history: History,
        bell: Bell,
        settings: PlaneSettings,
        policy_of: Callable[[str], api_pb2.FunctionRetryPolicy | None],
        again: Callable[[str, list[str]], None],
        on_progress: Callable[[str], None],
    ) -> None:
        """`policy_of` knows a function's retries, None when it is gone; `again` lets inputs of a function run."""
        self._history = history
        self._bell = bell
        self._settings = settings
        self._policy_of = policy_of
        self._again = again
        self._on_progress = on_progress

    def judge(self, input_id: str, outcome: Outcome) -> None:
        """Keep a result, or let the input run once more."""
        row = self._history.input(input_id)
        if row is None or row["entry"] is not None:
            return
        policy = self._policy_of(row["function_id"])
        if policy is None or outcome.result.status in _FINAL or row["failures"] >= policy.retries:
            self.finish(input_id, outcome)
            return
        delay_ms = min(
            policy.initial_delay_ms * (policy.backoff_coefficient or 1.0) ** row["failures"],
            policy.max_delay_ms or math.inf,
        )
        self._history.count_failure(input_id)
        delay_s = self._settings.scaled(delay_ms / 1000)
        asyncio.get_running_loop().call_later(delay_s, self._again, row["function_id"], [input_id])

    def finish(self, input_id: str, outcome: Outcome) -> None:
        """Keep a result for good, unless there is one."""
        row = self._history.input(input_id)
        if row is None or row["entry"] is not None:
            return
        item = api_pb2.FunctionGetOutputsItem(
            result=outcome.result,
            idx=row["idx"],
            input_id=input_id,
            data_format=outcome.data_format,
            task_id=outcome.task_id,
            input_started_at=outcome.started_at,
            output_created_at=time.time(),
        )
        self._history.finish(input_id, item.SerializeToString(), outcome.result.status)
        self._bell.ring(row["call_id"])
        self._on_progress(row["app_id"])
