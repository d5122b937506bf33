"""A small training on real digits, for the tests: three classes, a network of a few weights, about half a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from training.classifier.digits import digit_files
from training.pictures.layout import lay_out

SMALL: dict[str, Any] = {
    "seed": 7,
    "threads": 1,
    "pictures": {"side": 8, "channels": 1, "unreadable": "stop"},
    "network": {"kind": "small-cnn", "width": 4, "dropout": 0.2},
    "augmentation": {
        "rotation_degrees": 10,
        "shift_pixels": 0.5,
        "scale": 0.1,
        "mirror": 0.1,
        "contrast": 0.1,
        "erase_pixels": 2,
    },
    "optimisation": {
        "epochs": 6,
        "batch_size": 8,
        "pieces": 1,
        "precision": "float32",
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "warmup_steps": 5,
        "patience_epochs": None,
    },
    "checkpoints": {
        "every_steps": 3,
        "keep_last": 2,
        "keep_best": 1,
        "keep_every_steps": None,
        "keep_every_hours": None,
    },
}


def small_config(path: Path, **changes: Any) -> Path:
    """Write the small configuration with some sections' keys changed, and return where."""
    content = {
        key: {**value, **changes.pop(key, {})} if isinstance(value, dict) else changes.pop(key, value)
        for key, value in SMALL.items()
    }
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def small_folder(directory: Path) -> Path:
    """Lay out a part of the digits, the same each time, and return where: 60 pictures to train on, 12 and 12 more."""
    per_class = {"train": 20, "val": 4, "test": 4}
    files: dict[str, bytes] = {}
    for path, content in sorted(digit_files().items()):
        split, digit, _ = path.split("/")
        alike = sum(name.startswith(f"{split}/{digit}/") for name in files)
        if int(digit) < 3 and alike < per_class[split]:
            files[path] = content
    lay_out(directory, files)
    return directory


def same(one: Any, other: Any) -> bool:
    """Say whether two states are equal to the bit, tensors, floats and structure."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def final_state(run: Path) -> dict[str, Any]:
    """Return the state in a run's newest checkpoint."""
    newest = max(run.glob("step-*"), key=lambda path: path.name)
    state: dict[str, Any] = torch.load(newest / "state.pt", weights_only=True)
    return state
