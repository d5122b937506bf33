"""The job `dit`, as the harness runs it."""

from __future__ import annotations

from typing import Final

from training.dit.config import Config
from training.dit.trainer import Trainer
from training.harness.learner import Job
from training.pictures.folder import read_image_folder

JOB: Final = Job(
    name="dit",
    config=Config,
    read_data=lambda directory, config, _cache: read_image_folder(directory, config.pictures),
    learner=Trainer,
    metric="val_loss",
    greater_is_better=False,
    headline=lambda final: f"test loss {final['test_loss']:.4f}",
)
