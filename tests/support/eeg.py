"""Corpora for the tests: EDF files byte by byte, so that any field can be wrong, and TUSZ's tree around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from training.eeg.annotations import Span, csv_bi_bytes
from training.eeg.montage import CHANNELS
from training.eeg.sections import CorpusChoice, Signal, Windows

ROOT = Path(__file__).resolve().parents[2]
LABELS = tuple(f"EEG {channel.upper()}-REF" for channel in CHANNELS)
SIGNAL = {
    "rate_hz": 64,
    "low_hz": 0.5,
    "high_hz": 25.0,
    "notch_hz": (),
    "clip_sd": 10.0,
    "max_missing_channels": 2,
    "shortest_s": 5.0,
    "storage": "int16",
}
ALL = CorpusChoice(limit_files=None, max_skipped_share=0.9)
WINDOWS = Windows(length_s=4, stride_s=2, full_ratio=0.99)


def signal_section(**changes: Any) -> Signal:
    """Return the small way of preparing signal, with some values changed."""
    return Signal(**{**SIGNAL, **changes})


def config_file(path: Path, **changes: dict[str, Any]) -> Path:
    """Write the smoke test's configuration with the small sections and some keys changed, and return where."""
    content = yaml.safe_load((ROOT / "configs/local/eeg-smoke.yaml").read_text())
    small = {"signal": {**SIGNAL, "notch_hz": []}, "corpus": ALL.model_dump(), "windows": WINDOWS.model_dump()}
    for section, values in small.items():
        content[section] = {**values, **changes.get(section, {})}
    content["detection"]["stride_s"] = 2
    path.write_text(yaml.safe_dump(content))
    return path


def noise(seconds: float, rate_hz: float, channels: int = 19, seed: int = 0) -> NDArray[np.int16]:
    """Return digital samples, (channels, seconds * rate_hz)."""
    random = np.random.default_rng(seed)
    return random.integers(-300, 300, (channels, round(seconds * rate_hz)), np.int16)


def edf_bytes(
    digital: NDArray[np.int16] | list[NDArray[np.int16]],
    *,
    rate_hz: float | list[float] = 64,
    labels: tuple[str, ...] = LABELS,
    seconds: float = 1,
    **fields: str,
) -> bytes:
    """Return an EDF file. `fields` replace header fields: of the file by name, of every signal as
    `signal_NAME`. A record takes `seconds`."""
    rates = rate_hz if isinstance(rate_hz, list) else [rate_hz] * len(digital)
    widths = [round(rate * seconds) for rate in rates]
    records = len(digital[0]) // widths[0]
    fixed = {
        "version": ("0", 8),
        "patient": ("X X X X", 80),
        "recording": ("Startdate X X X X", 80),
        "date": ("01.01.00", 8),
        "time": ("00.00.00", 8),
        "header_bytes": (str(256 * (len(digital) + 1)), 8),
        "reserved": ("", 44),
        "records": (str(records), 8),
        "record_s": (f"{seconds:g}", 8),
        "signals": (str(len(digital)), 4),
    }
    columns: dict[str, tuple[list[str], int]] = {
        "label": (list(labels), 16),
        "transducer": ([""] * len(digital), 80),
        "dimension": (["uV"] * len(digital), 8),
        "physical_min": (["-3276.8"] * len(digital), 8),
        "physical_max": (["3276.7"] * len(digital), 8),
        "digital_min": (["-32768"] * len(digital), 8),
        "digital_max": (["32767"] * len(digital), 8),
        "prefiltering": ([""] * len(digital), 80),
        "samples": ([str(width) for width in widths], 8),
        "reserved": ([""] * len(digital), 32),
    }
    head = "".join(fields.get(name, value).ljust(width) for name, (value, width) in fixed.items())
    for name, (values, width) in columns.items():
        head += "".join(fields.get(f"signal_{name}", value).ljust(width) for value in values)
    body = np.concatenate([row.reshape(records, width) for row, width in zip(digital, widths, strict=True)], axis=1)
    return head.encode("latin-1") + body.astype("<i2").tobytes()


def place(
    data: Path,
    name: str,
    content: bytes,
    *,
    split: str = "train",
    events: tuple[Span, ...] = ((5.0, 10.0),),
    duration_s: float = 20,
    labels: bytes | None = None,
) -> str:
    """Put one recording into a tree and return its path below the splits' directory; `labels` replace its csv_bi."""
    path = f"{split}/{name}/s001_2026/01_tcp_ar/{name}_s001_t000.edf"
    file = data / "edf" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    written = csv_bi_bytes(stem=file.stem, duration_s=duration_s, events=events) if labels is None else labels
    file.with_suffix(".csv_bi").write_bytes(written)
    return path


def small_tree(data: Path, seconds: float = 20) -> Path:
    """Lay out four sound recordings of four patients, two of them to train on, and return where."""
    for number, split in enumerate(("train", "train", "dev", "eval")):
        content = edf_bytes(noise(seconds, 64, seed=number))
        place(data, f"p{number}", content, split=split, duration_s=seconds)
    return data
