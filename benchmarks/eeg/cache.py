# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Measure the cache of continuous EEG against what it replaces: building against MNE, reading against npz files.

Building: the same synthetic recordings by `training.eeg` and by a plain loop over MNE (read, order, reference,
resample, filter, notch, z-score, clip, save), one thread each, in turns; both write float32. Reading: random windows
from the cache and from the layout of the system before it, one npz of overlapping windows a recording. Ratios are of
pairs. Memory: one long recording, built in a process of its own.

    python benchmarks/eeg/cache.py [--minutes 60] [--runs 3] [--reads 200] [--memory-hours 24]
                                    [--only building|reading|memory]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402  # after the number of threads is set

from training.eeg.corpus import Corpus  # noqa: E402
from training.eeg.montage import CHANNELS, place_of  # noqa: E402
from training.eeg.populate import fill  # noqa: E402
from training.eeg.recording_file import build_file  # noqa: E402
from training.eeg.sections import CorpusChoice, Signal, Windows  # noqa: E402
from training.eeg.synthetic import Size, lay_out  # noqa: E402
from training.eeg.windows import WindowList, list_windows  # noqa: E402

SIGNAL = Signal(
    rate_hz=256, low_hz=0.5, high_hz=120.0, notch_hz=(60.0,), clip_sd=10.0, max_missing_channels=2, shortest_s=10.0,
    storage="float32",
)  # fmt: skip
WINDOWS = Windows(length_s=60.0, stride_s=10.0, full_ratio=0.99)
ALL = CorpusChoice(limit_files=None, max_skipped_share=0.0)


def by_mne(files: list[Path], out: Path) -> None:
    """Prepare each recording as MNE's manual would, and save it."""
    import mne

    for file in files:
        raw = mne.io.read_raw_edf(file, preload=True, verbose="error")
        names = {name: CHANNELS[place] for name in raw.ch_names if (place := place_of(name)) is not None}
        raw.pick(list(names)).rename_channels(names, verbose="error")
        raw.reorder_channels([name for name in CHANNELS if name in raw.ch_names])
        raw.set_eeg_reference("average", verbose="error")
        raw.resample(SIGNAL.rate_hz, verbose="error")
        raw.filter(SIGNAL.low_hz, SIGNAL.high_hz, verbose="error")
        raw.notch_filter(list(SIGNAL.notch_hz), verbose="error")
        signal = raw.get_data()
        signal = (signal - signal.mean(1, keepdims=True)) / signal.std(1, keepdims=True)
        np.save(out / file.stem, np.nan_to_num(np.clip(signal, -10, 10)).astype(np.float32))


def by_us(files: list[Path], out: Path) -> None:
    """Prepare each recording as `training.eeg` does."""
    for file in files:
        build_file(file, file.name, out / f"{file.name}.eeg", SIGNAL, "benchmark")


def taken(work: Callable[[list[Path], Path], None], files: list[Path], scratch: Path) -> tuple[float, float]:
    """Return the wall and processor seconds of one run."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    wall, processor = time.perf_counter(), time.process_time()
    work(files, scratch)
    return time.perf_counter() - wall, time.process_time() - processor


def measure_building(data: Path, scratch: Path, runs: int) -> dict[str, Any]:
    files = sorted(data.rglob("*.edf"))
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    by_us(files[:1], _fresh(scratch))
    by_mne(files[:1], _fresh(scratch))  # imports and first calls are no part of it
    pairs = [(taken(by_us, files, scratch), taken(by_mne, files, scratch)) for _ in range(runs)]
    return {
        "megabytes": round(megabytes, 1),
        "ours_mb_per_processor_s": _median(megabytes / ours[1] for ours, _ in pairs),
        "mne_mb_per_processor_s": _median(megabytes / mne[1] for _, mne in pairs),
        "times_as_fast_processor": _median(mne[1] / ours[1] for ours, mne in pairs),
        "times_as_fast_wall": _median(mne[0] / ours[0] for ours, mne in pairs),
        "lowest_ratio": round(min(mne[1] / ours[1] for ours, mne in pairs), 1),
    }


def measure_reading(data: Path, scratch: Path, reads: int) -> dict[str, Any]:
    """Read the same random windows from the cache as int16 and from npz files, plain and compressed."""
    corpus = fill(data, scratch / "int16", SIGNAL.model_copy(update={"storage": "int16"}), ALL)
    exact = fill(data, scratch / "float32", SIGNAL, ALL)
    listed = list_windows(corpus, WINDOWS)
    bytes_of = {"cache, int16": corpus.report["cache_bytes"], "cache, float32": exact.report["cache_bytes"]}
    for kind, save in (("npz", np.savez), ("npz, compressed", np.savez_compressed)):
        (scratch / kind).mkdir()
        for index in range(len(exact.recordings)):
            save(scratch / kind / f"{index}.npz", windows=_overlapping(exact, index, listed))
        bytes_of[kind] = sum(path.stat().st_size for path in (scratch / kind).iterdir())
    first = {index: int(np.flatnonzero(listed.recording == index)[0]) for index in range(len(corpus.recordings))}
    out = np.empty((len(CHANNELS), listed.samples), np.float32)

    def from_npz(kind: str, index: int, window: int) -> None:
        with np.load(scratch / kind / f"{index}.npz") as stored:
            out[:] = stored["windows"][window - first[index]]

    def from_cache(which: Corpus, index: int, window: int) -> None:
        start = int(listed.start[window])
        which.read(index, start, start + listed.samples, out)

    ways: dict[str, Callable[[int, int], None]] = {
        "cache, int16": lambda index, window: from_cache(corpus, index, window),
        "cache, float32": lambda index, window: from_cache(exact, index, window),
        "npz": lambda index, window: from_npz("npz", index, window),
        "npz, compressed": lambda index, window: from_npz("npz, compressed", index, window),
    }
    milliseconds: dict[str, list[float]] = {way: [] for way in ways}
    for window in np.random.default_rng(1).integers(0, len(listed), reads).tolist():
        for way, read in ways.items():
            began = time.perf_counter()
            read(int(listed.recording[window]), window)
            milliseconds[way].append(1000 * (time.perf_counter() - began))
    overlapping = len(listed) * out.nbytes
    return {
        "windows": len(listed),
        "overlapping_bytes": overlapping,
        "size_ratio": {way: round(overlapping / size, 1) for way, size in bytes_of.items()},
        "median_ms": {way: round(statistics.median(values), 3) for way, values in milliseconds.items()},
        "times_as_fast_as": {
            way: round(statistics.median(np.array(milliseconds[way]) / np.array(milliseconds["cache, int16"])), 1)
            for way in ways
        },
    }


def measure_memory(scratch: Path, hours: float) -> dict[str, Any]:
    """Build one long recording in a process of its own and return the peak of its memory."""
    lay_out(scratch / "long", Size(patients=3, hours=3 * 0.25, seed=2))
    source = next((scratch / "long").rglob("synth000*.edf"))
    content = source.read_bytes()
    signals = int(content[252:256])
    head, body = content[: 256 * (signals + 1)], content[256 * (signals + 1) :]
    with (scratch / "long.edf").open("wb") as stream:
        stream.write(head)
        for _ in range(round(hours * 4)):
            stream.write(body)
    shutil.rmtree(scratch / "long")
    argv = [sys.executable, __file__, "--build-one", str(scratch / "long.edf")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return {"hours": hours, "edf_bytes": (scratch / "long.edf").stat().st_size, **json.loads(done.stdout)}


def build_one(file: Path) -> int:
    """Build one file and print what this process's memory came to."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = build_file(file, file.name, file.with_suffix(".eeg"), SIGNAL, "benchmark")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps({"samples": facts.samples, "idle_mib": before // 1024, "peak_mib": peak // 1024}))
    return 0


def _overlapping(corpus: Corpus, index: int, listed: WindowList) -> np.ndarray[Any, np.dtype[np.float32]]:
    starts = listed.start[listed.recording == index].tolist()
    return np.stack([corpus.read(index, start, start + listed.samples) for start in starts])


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _median(values: Any) -> float:
    return round(statistics.median(values), 1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure building and reading of the cache of continuous EEG.")
    parser.add_argument("--minutes", type=float, default=60, help="of recording; default: 60")
    parser.add_argument("--runs", type=int, default=3, help="pairs of building; default: 3")
    parser.add_argument("--reads", type=int, default=200, help="random windows; default: 200")
    parser.add_argument("--memory-hours", type=float, default=24, help="of one long recording; default: 24")
    parser.add_argument("--only", choices=("building", "reading", "memory"), help="one part; default: all")
    parser.add_argument("--build-one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build_one:
        return build_one(options.build_one)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        lay_out(folder / "data", Size(patients=4, hours=options.minutes / 60, seed=1))
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "building": lambda: measure_building(folder / "data", folder / "build", options.runs),
            "reading": lambda: measure_reading(folder / "data", _fresh(folder / "read"), options.reads),
            "memory": lambda: measure_memory(_fresh(folder / "memory"), options.memory_hours),
        }
        result = {name: measure() for name, measure in measures.items() if options.only in (None, name)}
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    sys.stdout.write(f"{json.dumps({'machine': machine, **result}, indent=1)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
