"""An attempt that lives (a "task"), the queue of a function, and how an end is told. Plain values of the scheduler."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from modal_proto import api_pb2

from trimtab.emulation.modal.attempt import AttemptEnd, AttemptHandle
from trimtab.emulation.modal.definitions import Function

DEFAULT_TIMEOUT_S: Final = 300
"""What an input, and a container's start, may take where nothing is declared (https://modal.com/docs/guide/timeouts)."""


@dataclass(kw_only=True)
class Running:
    """An input that an attempt works on."""

    input_id: str
    call_id: str
    started_at: float
    timer: asyncio.TimerHandle


@dataclass(kw_only=True)
class Task:
    """An attempt that lives. `ending` says why it is to end; an attempt with one gets no input any more."""

    id: str
    app_id: str
    function_id: str
    token: str
    enqueued_at: float = field(default_factory=time.time)
    started_at: float = 0.0
    handle: AttemptHandle | None = None
    running: dict[str, Running] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    ending: str = ""
    init_result: api_pb2.GenericResult | None = None
    idle_since: float = 0.0
    used: bool = False


@dataclass(kw_only=True)
class Queue:
    """What waits for a function, and who works on it."""

    function: Function
    definition: api_pb2.Function
    pending: deque[str] = field(default_factory=deque)
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def capacity(self) -> int:
        """How many inputs one attempt takes at a time."""
        return max(self.definition.max_concurrent_inputs, self.definition.batch_max_size, 1)

    @property
    def is_single_use(self) -> bool:
        return self.definition.single_use_containers or self.definition.max_inputs == 1


def failure(text: str) -> api_pb2.GenericResult:
    """Return the result of an input whose attempt failed, with what to tell its caller."""
    return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=text)


def told(end: AttemptEnd) -> str:
    """Say how an attempt ended, to follow its subject."""
    if end.out_of_memory:
        return "was ended because it used more memory than it may"
    if end.signal is not None:
        return f"was ended by signal {end.signal}"
    return f"ended with exit code {end.exit_code}"
