"""The job `classifier`, as the harness runs it."""

from __future__ import annotations

from typing import Final

from training.classifier.config import Config
from training.classifier.trainer import Trainer
from training.harness.learner import Job
from training.pictures.folder import read_image_folder

JOB: Final = Job(
    name="classifier",
    config=Config,
    read_data=lambda directory, config, _cache: read_image_folder(directory, config.pictures),
    learner=Trainer,
    metric="val_loss",
    greater_is_better=False,
    headline=lambda final: f"test accuracy {final['test_accuracy']:.4f}",
)
