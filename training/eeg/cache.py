"""The cache's directory: whose it is, where each way of preparing signal lies, what of it is there. Never wiped.

    CACHE/EEG-CACHE.json                              whose directory this is
    CACHE/signal-KEY/KEY.json                         what KEY stands for: preprocessing, channels, montage, code
    CACHE/signal-KEY/recordings/PATH-OF-THE-EDF.eeg   one file a recording (training.eeg.recording_file)
    CACHE/signal-KEY/corpora/CHOICE.json              what a choice of recordings came to (training.eeg.corpus)

Each file says what it is, so nothing here is trusted for its place alone, and nothing is needed that could get lost: a
directory whose mark is missing is taken up again if all in it is ours, and refused, untouched, if not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from training.eeg.montage import CHANNELS, REFERENCE
from training.eeg.preprocessing import VERSION
from training.eeg.recording_file import SUFFIX, Facts, read_facts
from training.eeg.sections import CorpusChoice, Signal
from training.eeg.whole_file import is_part_of, whole_file
from trimtab.errors import UsageError
from trimtab.storage.durable import make_directory

_MARKER: Final = "EEG-CACHE.json"
_AT_ONCE: Final = 16
_MARKED: Final = {"format": "eeg-cache/1"}


def signal_key(how: Signal) -> str:
    """Return the name of a way to prepare signal: equal keys, equal signal."""
    return hashlib.sha256(_canonical(_meaning(how))).hexdigest()[:16]


class Cache:
    """One way of preparing signal within a cache directory."""

    def __init__(self, directory: Path, how: Signal) -> None:
        self.directory = directory
        self.how = how
        self.key = signal_key(how)
        self.home = directory / f"signal-{self.key}"

    def prepare(self) -> None:
        """Make the directory, or take one up. Raises UsageError, and touches nothing, where it is someone else's."""
        make_directory(self.directory)
        marker = self.directory / _MARKER
        if (found := _read_json(marker)) is None:
            if strangers := sorted(path.name for path in self.directory.iterdir() if not _is_ours(path)):
                raise self._foreign(f"it holds {strangers[0]!r}, and no {_MARKER} says that it is a cache")
            _write(marker, _MARKED)
        elif found != _MARKED:
            raise self._foreign(f"{_MARKER} says {str(found)[:80]}")
        make_directory(self.home)
        named = self.home / "KEY.json"
        if (meant := _read_json(named)) is None:
            _write(named, _meaning(self.how))
        elif meant != _meaning(self.how):
            raise self._foreign(f"{named} says that it was prepared in another way")

    def file_of(self, path: str) -> Path:
        """Return where a recording's file lies. Raises UsageError where a link leads out of the cache."""
        file = self.home / "recordings" / f"{path}{SUFFIX}"
        if not file.parent.resolve().is_relative_to(self.directory.resolve()):
            raise self._foreign(f"{file.parent} leads out of it")
        return file

    def facts(self, path: str) -> Facts | None:
        """Return a recording's facts where its file is there, whole, and made in this way."""
        facts = read_facts(self.file_of(path))
        return facts if facts is not None and (facts.path, facts.signal_key) == (path, self.key) else None

    def facts_of(self, paths: Iterable[str]) -> list[Facts | None]:
        """Return `facts` of each; side by side, because a network's file system answers each after milliseconds."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.facts, paths))

    def corpus_file(self, choice: CorpusChoice) -> Path:
        """Return where the corpus of a choice is written down."""
        limit = "all" if choice.limit_files is None else f"first-{choice.limit_files}"
        return self.home / "corpora" / f"{limit}.json"

    def _foreign(self, why: str) -> UsageError:
        return UsageError(
            f"{self.directory} cannot be used as the cache",
            why=why,
            remedy="give another --cache; nothing there was touched",
        )


def _meaning(how: Signal) -> dict[str, Any]:
    """Return all that the prepared signal depends on, besides the recording."""
    return {
        "channels": list(CHANNELS),
        "montage": REFERENCE,
        "code_version": VERSION,
        "signal": how.model_dump(mode="json"),
    }


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1).encode()


def _write(path: Path, value: dict[str, Any]) -> None:
    with whole_file(path) as stream:
        stream.write(_canonical(value))


def _is_ours(path: Path) -> bool:
    if is_part_of(path.name, _MARKER):
        return True
    meant = _read_json(path / "KEY.json") if path.is_dir() else None
    return meant is not None and path.name == f"signal-{hashlib.sha256(_canonical(meant)).hexdigest()[:16]}"


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return a file's JSON object, or None where there is no file. Raises UsageError when it is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read", why=str(error), remedy="move it away if it is damaged, or give another --cache"
        ) from error
    return found if isinstance(found, dict) else {"": found}
