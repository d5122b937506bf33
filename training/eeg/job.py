"""The job `eeg`, as the harness runs it: its data is the cache, filled from the EDF tree where something is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from training.eeg.config import Config
from training.eeg.measure import headline
from training.eeg.populate import fill
from training.eeg.trainer import Trainer
from training.harness.learner import Job

if TYPE_CHECKING:
    from pathlib import Path

    from training.eeg.corpus import Corpus


def read_data(data: Path, config: Config, cache: Path) -> Corpus:
    """Return the corpus of a cache; what is missing in it is built first."""
    return fill(data, cache, config.signal, config.corpus)


JOB: Final = Job(
    name="eeg",
    config=Config,
    read_data=read_data,
    learner=Trainer,
    metric="val_average_precision",
    greater_is_better=True,
    headline=headline,
)
