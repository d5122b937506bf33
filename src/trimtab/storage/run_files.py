"""A run's files, brought from where they lie to this machine's results: resumable, verified, visible when whole.

What was fetched waits in `RESULTS/.fetching/RUN_ID/` until all of it is there and its checksums are right: those of a
checkpoint's manifest, and those of the record's artifacts. Then it moves to its place, a checkpoint by one rename, and
the record comes last. A run of which a copy lies here keeps what it has; what is equal is not brought again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.checkpoints import published
from trimtab.storage.durable import make_directory, sync_directory
from trimtab.storage.manifests import sha256_of
from trimtab.storage.runs import RunRecord, merge_runs, read_run, write_run

_WAITING: Final = ".fetching"
_STEP: Final = "step-"
_TRIES: Final = 2


class Source(Protocol):
    """Where a run's files lie, by their paths relative to the results."""

    def files(self, folder: str) -> Mapping[str, int]:
        """Return the sizes in bytes of the files below a folder."""

    def get(self, paths: Iterable[str], into: Path, say: Callable[[str], None]) -> tuple[str, ...]:
        """Fetch files to the same paths below a folder, each whole; return those that are not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was brought. `gone` are files that the run's own policy removed while they were being fetched."""

    files: int
    size_bytes: int
    brought_files: int
    brought_bytes: int
    gone: tuple[str, ...]


def fetch_run(source: Source, record: RunRecord, results: Path, *, say: Callable[[str], None]) -> Fetched:
    """Bring a run. Interrupted, the same call goes on. Raises ProgramError when what came is not what was written."""
    _check_directory(record)
    remote = {
        path: size
        for folder in (record.run_directory, f"evaluations/{record.job}/{record.run_id}")
        for path, size in source.files(folder).items()
        if path.startswith(f"{folder}/") and not any(part.startswith(".") for part in PurePosixPath(path).parts)
    }
    waiting = results / _WAITING / record.run_id
    artifacts = {artifact.path: artifact.sha256 for artifact in record.artifacts}
    whole = _whole_checkpoints(results, record)

    def is_here(path: str, size: int) -> bool:
        step = _step_of(path, record)
        return step in whole if step else _stands(results / path, size, artifacts.get(path))

    wanted = {path: size for path, size in remote.items() if not is_here(path, size)}
    gone = _bring(source, record, wanted, waiting, artifacts, say)
    kept = {path: size for path, size in wanted.items() if path not in gone}
    _publish(waiting, results, record, kept)
    known = read_run(results, record.run_id)
    write_run(results, merge_runs(known, record) if known else record)
    shutil.rmtree(waiting, ignore_errors=True)
    with suppress(OSError):  # another run's files wait there
        waiting.parent.rmdir()
    return Fetched(
        files=len(remote) - len(gone),
        size_bytes=sum(size for path, size in remote.items() if path not in gone),
        brought_files=len(kept),
        brought_bytes=sum(kept.values()),
        gone=tuple(sorted(gone)),
    )


def _bring(
    source: Source,
    record: RunRecord,
    wanted: Mapping[str, int],
    waiting: Path,
    artifacts: Mapping[str, str],
    say: Callable[[str], None],
) -> set[str]:
    """Fetch what is wanted until it is right; return what is gone. What came wrong is fetched once more."""
    gone: set[str] = set()
    wrong: dict[str, str] = {}
    for _ in range(_TRIES):
        missing = [
            path for path, size in wanted.items() if path not in gone and not _stands(waiting / path, size, None)
        ]
        gone |= _without_halves(source.get(missing, waiting, say) if missing else (), wanted, record)
        wrong = _wrong(waiting, record, {path: size for path, size in wanted.items() if path not in gone}, artifacts)
        if not wrong:
            return gone
        for path in wrong:
            (waiting / path).unlink(missing_ok=True)
            say(f"once more: {path}: {wrong[path]}")
    path, why = next(iter(wrong.items()))
    raise ProgramError(
        f"{path} of the run {record.run_id} did not arrive as it was written",
        why=f"{why}; {len(wrong)} files are wrong, and nothing of the run was put in its place",
        remedy="fetch it again: what is right stays. If it stays wrong, the original is damaged",
    )


def _without_halves(gone: Iterable[str], wanted: Mapping[str, int], record: RunRecord) -> set[str]:
    """Return what is gone, with what is left of the same checkpoints: half of one is none."""
    found = set(gone)
    steps = {step for path in found if (step := _step_of(path, record))}
    return found | {path for path in wanted if _step_of(path, record) in steps}


def _wrong(waiting: Path, record: RunRecord, wanted: Mapping[str, int], artifacts: Mapping[str, str]) -> dict[str, str]:
    """Return the files that are not what was written, and why.

    A file that nothing vouches for (a picture, a table) is whole as it came, though a run that goes on replaced it
    since it was listed.
    """
    wrong = {}
    for path, size in wanted.items():
        is_vouched_for = path in artifacts or _step_of(path, record) is not None
        if not _stands(waiting / path, size, None) and (is_vouched_for or not (waiting / path).is_file()):
            found = (waiting / path).stat().st_size if (waiting / path).is_file() else 0
            wrong[path] = f"it has {found} of {size} bytes"
        elif path in artifacts and sha256_of(waiting / path) != artifacts[path]:
            wrong[path] = "its checksum is not the record's"
    for checkpoint in published(waiting / record.run_directory):
        if damage := checkpoint.damage():
            step = checkpoint.path.relative_to(waiting).as_posix()
            wrong |= {path: damage for path in wanted if path.startswith(f"{step}/")}
    return wrong


def _publish(waiting: Path, results: Path, record: RunRecord, wanted: Mapping[str, int]) -> None:
    for path in sorted(wanted):
        step = _step_of(path, record)
        source = waiting / (step or path)
        if not source.exists():  # its checkpoint has moved with another of its files
            continue
        target = results / (step or path)
        make_directory(target.parent)
        if step and target.exists():  # a damaged copy of what has come whole
            shutil.rmtree(target)
        source.replace(target)
        sync_directory(target.parent)


def _check_directory(record: RunRecord) -> None:
    """Refuse a record that names a directory which is not its own: it came from elsewhere, and is written to."""
    own = rf"checkpoints/{re.escape(record.job)}/\d{{4}}-\d\d-\d\d/{re.escape(record.run_id)}"
    if not re.fullmatch(own, record.run_directory):
        raise UsageError(
            f"the run {record.run_id} cannot be fetched",
            why=f"its record names {record.run_directory!r} as its directory",
            remedy="a run's is checkpoints/JOB/YYYY-MM-DD/RUN_ID: mend or remove that record",
        )


def _whole_checkpoints(results: Path, record: RunRecord) -> set[str]:
    """Return the paths, relative to the results, of the checkpoints that lie here and are right."""
    directory = results / record.run_directory
    found = published(directory) if directory.is_dir() else ()
    return {one.path.relative_to(results).as_posix() for one in found if one.damage() is None}


def _step_of(path: str, record: RunRecord) -> str | None:
    """Return the checkpoint that a file belongs to, None for any other file."""
    below = path.removeprefix(f"{record.run_directory}/")
    name, _, rest = below.partition("/")
    is_inside = below != path and bool(rest) and name.startswith(_STEP) and "." not in name
    return f"{record.run_directory}/{name}" if is_inside else None


def _stands(path: Path, size_bytes: int, sha256: str | None) -> bool:
    """Tell whether a file is there, by its size and, where it is known, its checksum."""
    if not path.is_file() or path.stat().st_size != size_bytes:
        return False
    return sha256 is None or sha256_of(path) == sha256
