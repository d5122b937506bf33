"""A small training on real digits, for the tests: three classes, a network of a few weights, about half a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from training.classifier.digits import digit_files
from training.harness.layout import lay_out
from trimtab.storage.checkpoints import published
from trimtab.storage.runs import RunRecord, list_runs

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

SMALL_DIT: dict[str, Any] = {
    "seed": 7,
    "threads": 1,
    "pictures": {"side": 8, "channels": 1, "unreadable": "stop"},
    "network": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
    "optimisation": {
        "steps": 48,
        "batch_size": 8,
        "precision": "float32",
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "warmup_steps": 5,
        "ema_decay": 0.9,
        "label_dropout": 0.2,
    },
    "sampling": {"every_steps": 8, "steps": 2, "guidance": 2.0, "per_class": 2},
    "checkpoints": SMALL["checkpoints"],
}


def small_config(path: Path, base: dict[str, Any] = SMALL, **changes: Any) -> Path:
    """Write a small configuration with some sections' keys changed, and return where."""
    content = {
        key: {**value, **changes.pop(key, {})} if isinstance(value, dict) else changes.pop(key, value)
        for key, value in base.items()
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


def arguments(config: Path, data: Path, results: Path) -> list[str]:
    return ["--config", str(config), "--data", str(data), "--results", str(results), "--json"]


def run_of(results: Path) -> tuple[RunRecord, Path]:
    (record,), unreadable = list_runs(results)
    assert unreadable == ()
    return record, results / record.run_directory


def assert_nothing_is_half(results: Path) -> None:
    """Check what a reader sees after a kill: whole checkpoints, a whole record or none, a whole model or none."""
    runs = list_runs(results)
    assert runs.unreadable == ()
    for record in runs.records:
        assert [item.damage() for item in published(results / record.run_directory)].count(None) == len(
            published(results / record.run_directory)
        )
    assert not list(results.rglob("*.broken"))


def assert_equal_to_the_bit(results: Path, uninterrupted: Path) -> None:
    (record, run), (expected, expected_run) = run_of(results), run_of(uninterrupted)
    assert (run / "model.pt").read_bytes() == (expected_run / "model.pt").read_bytes()
    assert same(final_state(run), final_state(expected_run))
    assert record.epochs == expected.epochs
    assert record.final == expected.final
    assert [item.sha256 for item in record.artifacts] == [item.sha256 for item in expected.artifacts]
