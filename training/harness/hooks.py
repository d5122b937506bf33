"""What an attempt is lent by its surroundings, and what it gives back. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from training.harness.limits import Limit
from trimtab.storage.prefixes import Prefix
from trimtab.storage.runs import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an attempt ended. `resumed_from_step` is None when it began at the beginning.

    `stopped_by` says what interrupted it: `signal`, or the name of the limit. `peaks` is the most that was used, in
    bytes by gauge.
    """

    outcome: Literal["finished", "already finished", "interrupted"]
    resumed_from_step: int | None
    record: RunRecord
    stopped_by: str | None = None
    peaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the surroundings lend: when to stop, whom to tell, how to commit where the file system needs that.

    `stop` becomes true when the platform interrupts, which leaves `grace_s`. It is asked once when the run is about to
    be held, and then before each step; before the first time an interrupt may end the process at once. `limits` are
    kept to without being told. `backup` is where the run is copied to, and brought back from when it is not here.
    `began` is when the machine's time began to count, `call` the platform's name for what was launched; both are for
    the record.
    """

    stop: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda _: None
    commit: Callable[[], None] | None = None
    limits: tuple[Limit, ...] = ()
    grace_s: float = 30.0
    backup: Prefix | None = None
    began: datetime | None = None
    call: str | None = None
