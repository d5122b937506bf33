"""A corpus in memory, for the tests of what is learnt: noise, and a slow wave where a seizure is. No file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from training.eeg.config import Config
from training.eeg.corpus import Corpus, Recording
from training.eeg.montage import CHANNELS
from training.harness.config import load_config

SMALL: dict[str, Any] = {
    "seed": 7,
    "threads": 1,
    "corpus": {"limit_files": None, "max_skipped_share": 0.5},
    "signal": {
        "rate_hz": 32,
        "low_hz": 0.5,
        "high_hz": 15.0,
        "notch_hz": [],
        "clip_sd": 10.0,
        "max_missing_channels": 2,
        "shortest_s": 10.0,
        "storage": "int16",
    },
    "windows": {"length_s": 20.0, "stride_s": 10.0, "full_ratio": 0.99},
    "network": {
        "width": 8, "strides": [4, 4], "dilations": [1, 4], "state_blocks": 1, "states": 4, "dropout": 0.1,
    },
    "loader": {"workers": 2},
    "sampling": {"full_per_partial": 0.3, "none_per_partial": 2.5, "shuffled_labels": False},
    "augmentation": {"gain": 0.2, "channel_dropout": 0.05, "mirror": 0.5},
    "optimisation": {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "warmup_steps": 3,
        "gradient_norm": 1.0,
        "precision": "float32",
    },
    "detection": {"upper": 0.8, "lower": 0.5, "minimum_s": 4.0, "merge_s": 2.0, "stride_s": 10},
    "checkpoints": {
        "every_steps": 3,
        "keep_last": 2,
        "keep_best": 1,
        "keep_every_steps": None,
        "keep_every_hours": None,
    },
}  # fmt: skip


def small_config(path: Path, **changes: Any) -> Path:
    """Write the small configuration with some sections' keys changed, and return where."""
    content = {
        key: {**value, **changes.pop(key, {})} if isinstance(value, dict) else changes.pop(key, value)
        for key, value in SMALL.items()
    }
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def loaded(folder: Path, **changes: Any) -> Config:
    """Return the small configuration with some sections' keys changed."""
    return load_config(small_config(folder / "config.yaml", **changes), Config)


class MadeUpCorpus(Corpus):
    """Recordings in memory: `seconds` of noise each, with a wave of 3 Hz on all channels in each event."""

    def __init__(
        self, events: dict[str, list[list[tuple[float, float]]]], *, seconds: float = 120.5, rate_hz: int = 32
    ) -> None:
        self.rate_hz, self.sha256, self.synthetic = rate_hz, "0" * 64, True
        self.report = {"warnings": [], "counts": {}}
        samples = int(seconds * rate_hz)
        self.recordings = tuple(
            Recording(
                path=f"{split}/{split}{number:02d}/s001_2020/01_tcp_ar/{split}{number:02d}_s001_t000.edf",
                split=split,
                patient=f"{split}{number:02d}",
                session="s001_2020",
                montage="01_tcp_ar",
                samples=samples,
                duration_s=samples / rate_hz,
                events=tuple(spans),
                present=(True,) * len(CHANNELS),
            )
            for split, recordings in sorted(events.items())
            for number, spans in enumerate(recordings)
        )
        self.signals = [self._signal(index) for index in range(len(self.recordings))]
        self.reads: list[tuple[int, int, int]] = []

    def _signal(self, index: int) -> NDArray[np.float32]:
        one = self.recordings[index]
        signal = np.random.default_rng(index).standard_normal((len(CHANNELS), one.samples)).astype(np.float32)
        at = np.arange(one.samples) / self.rate_hz
        for start, stop in one.events:
            inside = (at >= start) & (at < stop)
            signal[:, inside] += 3 * np.sin(2 * np.pi * 3 * at[inside]).astype(np.float32)
        return signal

    def read(
        self, recording: int, start: int, stop: int, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        self.reads.append((recording, start, stop))
        found = np.zeros((len(CHANNELS), stop - start), np.float32) if out is None else out
        found[:] = 0
        there = self.signals[recording][:, start:stop]
        found[:, : there.shape[1]] = there
        return found


def made_up() -> MadeUpCorpus:
    """Return nine patients of two minutes, one seizure of 30 s in most: 5 to train on, 2 to choose by, 2 to measure."""
    return MadeUpCorpus(
        {
            "train": [[(20.0, 50.0)], [(65.0, 95.0)], [(40.0, 70.0)], [(5.0, 35.0)], []],
            "dev": [[(30.0, 60.0)], []],
            "eval": [[(50.0, 80.0)], []],
        }
    )
