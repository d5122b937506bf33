"""The job `dedup`, as the harness runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from training.dedup.comparison import Comparison
from training.dedup.config import Config
from training.dedup.survey import read_survey
from training.harness.learner import Job

if TYPE_CHECKING:
    from collections.abc import Mapping


def _headline(final: Mapping[str, Any]) -> str:
    leaking = final["leaking_clusters"]
    leaks = f"{leaking} across splits, " if leaking else ""
    return (
        f"{final['clusters']} clusters of copies, {leaks}{final['remove']} of {final['pictures']} pictures to remove;"
        f" nothing was moved"
    )


JOB: Final = Job(
    name="dedup",
    config=Config,
    read_data=read_survey,
    learner=Comparison,
    metric="done",
    greater_is_better=True,
    headline=_headline,
)
