"""Lay out a synthetic corpus in TUSZ's tree: EDF, csv_bi and csv, labelled synthetic wherever it shows.

`python -m training.eeg.synthetic --out DIR [--patients N --hours H --seed S]` writes DIR whole or not at all, and does
nothing where it is there. The patient's field of each EDF says SYNTHETIC, and so do names, README and SYNTHETIC.json.
The variety is the real corpus': rates, references, extra signals, a person without Fz and Pz.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from edfio import Edf, EdfSignal, Patient, Recording

from training.eeg.annotations import Span, csv_bi_bytes, csv_bytes
from training.eeg.montage import CHANNELS
from training.eeg.recording_file import SYNTHETIC
from training.eeg.waveforms import draw_person, heart, record
from training.harness.layout import run_layout
from trimtab.errors import UsageError
from trimtab.storage.durable import new_directory

_GENERATOR: Final = 1
"""Counts the changes of what is generated, here or in `training.eeg.waveforms`."""
_NOTE: Final = "SYNTHETIC.json"
_LONGEST_S: Final = 900
_RATES_HZ: Final = (256, 250, 256, 400)
_MONTAGES: Final = (("01_tcp_ar", "REF"), ("02_tcp_le", "LE"), ("01_tcp_ar", "REF"), ("03_tcp_ar_a", "REF"))
_LIMIT_UV: Final = 3276.7  # with 16 bits: 0.1 uV a digit
_BETWEEN_S: Final = 500  # seconds of recording for each seizure, on average: more than in life, so that small does
_APART_S: Final = 120  # closer ones would count as one event
_README: Final = """SYNTHETIC EEG

Made by `python -m training.eeg.synthetic`. No person was recorded; nothing here says anything about anybody's brain.
It has the layout of the TUH EEG Seizure Corpus and is no part of it. Measurements on it show that a pipeline works.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is generated: equal sizes, equal corpora (up to a digit where another machine rounds otherwise)."""

    patients: int
    hours: float
    seed: int

    @property
    def recordings(self) -> int:
        """Return the recordings of each patient."""
        return max(1, round(self.hours * 3600 / self.patients / _LONGEST_S))

    @property
    def recording_s(self) -> int:
        """Return the seconds of each recording."""
        return round(self.hours * 3600 / self.patients / self.recordings)


def lay_out(directory: Path, size: Size, say: Callable[[str], None] = lambda _: None) -> bool:
    """Write a corpus to a new directory, whole or not at all; return whether anything was written.

    Raises UsageError when something else is there or the size is none, BudgetError when the disk is full.
    """
    if not (3 <= size.patients <= 999 and 0 < size.hours <= 5000 and size.recording_s >= 30):
        raise UsageError(
            f"{size.hours} h of {size.patients} patients cannot be generated",
            why="3 to 999 patients can be, up to 5000 h in all, and recordings of 30 s at least",
            remedy="give other --patients or --hours",
        )
    directory = directory.absolute()
    if directory.exists():
        if _describes(directory, size):
            return False
        raise UsageError(
            f"{directory} is there, but it is not this synthetic corpus",
            why=f"its {_NOTE} is missing or says otherwise, or a file has another size",
            remedy="give another --out, or move it away; nothing there was touched",
        )
    with new_directory(directory) as made:
        files = {path: (made / path).stat().st_size for path in _write(made, size, say)}
        (made / _NOTE).write_text(json.dumps({**_described(size), "files": files}, indent=1))
    return True


def _described(size: Size) -> dict[str, Any]:
    return {"format": "eeg-synthetic/1", "generator": _GENERATOR, **asdict(size)}


def _describes(directory: Path, size: Size) -> bool:
    try:
        found = json.loads((directory / _NOTE).read_text())
        files = found.pop("files")
        return found == _described(size) and all((directory / path).stat().st_size == files[path] for path in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(root: Path, size: Size, say: Callable[[str], None]) -> Iterator[str]:
    """Write the corpus below root and yield each file's path."""
    (root / "README.txt").write_text(_README)
    yield "README.txt"
    for patient in range(size.patients):
        split = _split(patient, size.patients)
        random = np.random.default_rng((size.seed, patient))
        person = draw_person(random)
        rate_hz, (montage, reference) = _RATES_HZ[patient % 4], _MONTAGES[patient // 2 % 4]
        name = f"synth{patient:03d}"
        for number in range(size.recordings):
            random = np.random.default_rng((size.seed, patient, number))
            seizures = _seizures(size.recording_s, random, is_certain=patient % 5 < 3 and number == 0)
            signal = record(person, size.recording_s, rate_hz, seizures, random)
            folder = f"edf/{split}/{name}/s{number + 1:03d}_2026/{montage}"
            stem = f"{name}_s{number + 1:03d}_t000"
            (root / folder).mkdir(parents=True)
            without = ("Fz", "Pz") if patient == 1 else ()
            labels = [f"EEG {channel.upper()}-{reference}" for channel in CHANNELS]
            kept = [place for place, channel in enumerate(CHANNELS) if channel not in without]
            signals = [_stored(signal[place], rate_hz, labels[place]) for place in kept]
            signals.append(_stored(heart(size.recording_s, rate_hz // 2, random), rate_hz // 2, f"EKG1-{reference}"))
            _edf(signals, name, split).write(root / folder / f"{stem}.edf")
            (root / folder / f"{stem}.csv_bi").write_bytes(
                csv_bi_bytes(stem=stem, duration_s=size.recording_s, events=seizures)
            )
            (root / folder / f"{stem}.csv").write_bytes(_channels_csv(stem, size.recording_s, seizures))
            yield from (f"{folder}/{stem}.{kind}" for kind in ("edf", "csv_bi", "csv"))
        say(f"{patient + 1} of {size.patients} synthetic patients")


def _split(patient: int, patients: int) -> str:
    """Deal three of five patients to train, one to dev, one to eval; of few, the last two to those."""
    if patient >= patients - 2:
        return ("dev", "eval")[patient - patients + 2]
    return ("train", "train", "train", "dev", "eval")[patient % 5]


def _seizures(duration_s: int, random: np.random.Generator, *, is_certain: bool) -> tuple[Span, ...]:
    """Draw when seizures are: 15 to 90 s each and apart, or as long as a third of a short recording."""
    seizures: list[Span] = []
    for _ in range(max(int(is_certain), random.poisson(duration_s / _BETWEEN_S))):
        length = round(min(random.uniform(15, 90), duration_s / 3), 2)
        start = round(random.uniform(5, duration_s - length - 5), 2)
        if all(start > stop + _APART_S or start + length < begin - _APART_S for begin, stop in seizures):
            seizures.append((start, round(start + length, 2)))
    return tuple(sorted(seizures))


def _stored(signal: np.ndarray[Any, np.dtype[np.float32]], rate_hz: int, label: str) -> EdfSignal:
    digital = np.rint(np.clip(signal, -_LIMIT_UV, _LIMIT_UV) * (32767 / _LIMIT_UV)).astype(np.int16)
    return EdfSignal.from_digital(
        digital,
        rate_hz,
        label=label,
        transducer_type="none: synthetic",
        physical_dimension="uV",
        physical_range=(-_LIMIT_UV, _LIMIT_UV),
        digital_range=(-32767, 32767),
    )


def _edf(signals: list[EdfSignal], name: str, split: str) -> Edf:
    return Edf(
        signals,
        patient=Patient(code=name, name=SYNTHETIC, additional=("nobody",)),
        recording=Recording(equipment_code=SYNTHETIC, additional=(split,)),
        data_record_duration=1,
    )


def _channels_csv(stem: str, duration_s: int, seizures: tuple[Span, ...]) -> bytes:
    """Return the labels by channel, as TUSZ has them: pairs of the temporal chain, seizure type and background."""
    pairs = ("FP1-F7", "F7-T3", "T3-T5", "FP2-F8", "F8-T4", "T4-T6")
    edges = [0.0, *(edge for seizure in seizures for edge in seizure), float(duration_s)]
    spans = list(itertools.pairwise(edges))
    rows = [
        (pair, start, stop, "bckg" if number % 2 == 0 else "fnsz", 1.0)
        for pair in pairs
        for number, (start, stop) in enumerate(spans)
        if stop > start
    ]
    return csv_bytes(stem=stem, duration_s=duration_s, rows=rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.eeg.synthetic",
        description="Lay out synthetic EEG with seizures in the tree of the TUH EEG Seizure Corpus.",
    )
    parser.add_argument("--patients", type=int, default=16, metavar="N", help="default: 16")
    parser.add_argument("--hours", type=float, default=1.5, metavar="H", help="of all patients together; default: 1.5")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: 1")

    def lay(options: argparse.Namespace) -> tuple[str, bool]:
        size = Size(patients=options.patients, hours=options.hours, seed=options.seed)
        written = lay_out(options.out, size, _say)
        return f"{size.patients * size.recordings} synthetic recordings", written

    return run_layout(parser, arguments, lay)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
