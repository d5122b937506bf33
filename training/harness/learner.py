"""What a job brings to the harness: its data, and a learner that can stop after any step and go on from its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol

from training.harness.config import ConfigType


class Data(Protocol):
    """What is learnt from, read whole or mapped: `sha256` names its content, `warnings` say what is odd about it."""

    @property
    def sha256(self) -> str: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """What was measured where an epoch (or a stretch of steps) ended: the record's row, and the checkpoint's metrics.

    `files` are written beside the checkpoints, by name. They hold no times: an attempt that repeats the stretch
    writes the same bytes.
    """

    line: str
    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a training leaves: numbers for the record, files for keeps, and one line for a person."""

    line: str
    final: Mapping[str, Any]
    files: Mapping[str, bytes]


class Learner(Protocol):
    """A model being trained. After `advance`, `state()` is all that another process needs to go on to the same bit."""

    step: int
    """Finished steps."""
    epochs: list[dict[str, float]]
    """The rows of the milestones so far: `epoch` (counted from 1), `step`, and what was measured. Part of the state."""

    @property
    def done(self) -> bool: ...

    @property
    def scope(self) -> str:
        """Return how far it will go, for the line that begins an attempt."""
        ...

    def advance(self) -> Milestone | None:
        """Learn from the next batch. Raises HealthError, with the cause, when the loss is no number."""
        ...

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, in tensors and plain values: `weights_only` loading takes it."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Take a state over. The data and the configuration must be those that it was made with."""
        ...

    def finish(self) -> Ending:
        """Measure what was learnt. Called once `done`; killed in it, the next attempt does it again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[ConfigType]):
    """A job: its name, and how its data is read and its learner made. `metric` is what the best checkpoint has best.

    `read_data` gets the data set, which is only read, and a folder of the job's own for what it makes of that once and
    uses again. The folder need not exist yet, outlives the run, and is safe to remove.
    """

    name: str
    config: type[ConfigType]
    read_data: Callable[[Path, ConfigType, Path], Data]
    learner: Callable[[ConfigType, Any], Learner]
    metric: str
    greater_is_better: bool
    headline: Callable[[Mapping[str, Any]], str]
    """One line of a finished run's `final`, for a person."""
