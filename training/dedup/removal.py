"""Move the copies that a run found out of a data set, and back again. Deletes nothing; only done when it is asked for.

    python -m training.dedup.removal --list RUN/duplicates.json --data DIR --to DIR [--dry-run]
    python -m training.dedup.removal --undo DIR

A copy is moved only while it and the picture that stays are still what the run saw, by their checksums. What is to be
moved is written to DIR/undo.json before the first move, and each move is a rename into DIR: killed at any moment, the
same command goes on, and --undo puts back whatever is there.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import DriftError, ProgramError, TrimtabError, UsageError
from trimtab.storage.durable import make_directory, raise_write_error, sole_writer, sync_directory, write_whole
from trimtab.storage.manifests import path_problems, sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

UNDO: Final = "undo.json"
_FORMAT: Final = "trimtab-removal/1"
_LIST_FORMAT: Final = "trimtab-duplicates/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file to be moved, and the one that stays for it; paths relative to the data."""

    path: str
    sha256: str
    kept: str
    kept_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How a removal or its undoing went."""

    moved: int
    before: int
    left: tuple[str, ...]
    """What was not moved, and why."""


def read_list(path: Path) -> tuple[Copy, ...]:
    """Return the copies of a list of duplicates. Raises UsageError when it is none, or a path leaves the data."""
    document = _document(path, _LIST_FORMAT)
    try:
        copies = tuple(
            Copy(
                path=copy["path"],
                sha256=copy["sha256"],
                kept=cluster["keep"]["path"],
                kept_sha256=cluster["keep"]["sha256"],
            )
            for cluster in document["clusters"]
            for copy in cluster["remove"]
        )
    except (KeyError, TypeError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}") from error
    _check_paths(path, [name for copy in copies for name in (copy.path, copy.kept)])
    return copies


def remove(copies: Sequence[Copy], data: Path, to: Path, *, dry_run: bool = False) -> Moved:
    """Move copies from the data into a folder of their own. What is not as the run saw it is left and named.

    Raises UsageError when the folder lies in the data, holds something else, or is on another disk.
    """
    data, to = data.resolve(strict=True), to.resolve()
    if to.is_relative_to(data) or data.is_relative_to(to):
        raise UsageError(
            f"{to} cannot take the copies", why=f"{data} would still hold them", remedy="give another --to"
        )
    moves: list[Copy] = []
    left: list[str] = []
    before = 0
    for copy in copies:
        if not _lies_in(data, copy.path) or not _lies_in(data, copy.kept):
            left.append(f"{copy.path}: a folder on its way, or on that of {copy.kept}, is a link")
        elif not _is(data / copy.kept, copy.kept_sha256):
            left.append(f"{copy.path}: {copy.kept}, which was to stay for it, is not what the run saw")
        elif _is(to / copy.path, copy.sha256) and not os.path.lexists(data / copy.path):
            before += 1
        elif not _is(data / copy.path, copy.sha256):
            left.append(f"{copy.path}: it is not what the run saw")
        elif os.path.lexists(to / copy.path) and not (to / copy.path).samefile(data / copy.path):
            left.append(f"{copy.path}: {to / copy.path} is there")
        else:
            moves.append(copy)
    if not dry_run and moves:
        _open_folder(to, data, moves)
        with sole_writer(to):
            for copy in moves:
                _rename(data / copy.path, to / copy.path)
    return Moved(moved=len(moves), before=before, left=tuple(left))


def undo(folder: Path) -> Moved:
    """Move what lies in a removal's folder back to where it was. What is in the way is left and named."""
    folder = folder.resolve()
    document = _read_undo(folder)
    data = Path(document["data"])
    moved, before = 0, 0
    left: list[str] = []
    with sole_writer(folder):
        for path in document["paths"]:
            if not os.path.lexists(folder / path):
                before += 1
            elif os.path.lexists(data / path) and not (data / path).samefile(folder / path):
                left.append(f"{path}: {data / path} is there again")
            elif not _lies_in(data, path):
                left.append(f"{path}: a folder on its way is a link")
            else:
                _rename(folder / path, data / path)
                moved += 1
    return Moved(moved=moved, before=before, left=tuple(left))


def _open_folder(to: Path, data: Path, moves: Sequence[Copy]) -> None:
    """Make the folder, and write into it what is about to be moved, with what was moved before."""
    make_directory(to)
    paths: set[str] = set()
    if (to / UNDO).exists():
        document = _read_undo(to)
        if Path(document["data"]) != data:
            raise UsageError(
                f"{to} cannot take the copies",
                why=f"it holds what was moved out of {document['data']}",
                remedy="give another --to for other data",
            )
        paths.update(document["paths"])
    elif any(to.iterdir()):
        raise UsageError(f"{to} cannot take the copies", why="it holds something else", remedy="give a new --to")
    if to.stat().st_dev != data.stat().st_dev:
        raise UsageError(
            f"{to} cannot take the copies",
            why="it is on another disk than the data, and a move there could be cut in half",
            remedy="give a --to beside the data",
        )
    paths.update(copy.path for copy in moves)
    document = {"format": _FORMAT, "data": str(data), "paths": sorted(paths)}
    write_whole(to / UNDO, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


def _read_undo(folder: Path) -> dict[str, Any]:
    path = folder / UNDO
    match document := _document(path, _FORMAT):
        case {"data": str(data), "paths": list(paths)} if Path(data).is_absolute():
            _check_paths(path, paths)
            return document
    raise _unusable(path, "it does not say what lay where")


def _document(path: Path, wanted: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(document, dict) or document.get("format") != wanted:
        raise _unusable(path, f"its format is not {wanted}")
    return document


def _check_paths(source: Path, paths: Sequence[str]) -> None:
    for name in paths:
        if not isinstance(name, str) or (problems := path_problems((name,))):
            raise _unusable(source, problems[0] if isinstance(name, str) else f"{name!r} is not a path")


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} cannot be used", why=why, remedy="give a file that training.dedup wrote")


def _lies_in(root: Path, path: str) -> bool:
    """Say whether no folder on the way to a path is a link."""
    below = root
    for part in Path(path).parts[:-1]:
        below /= part
        if below.is_symlink():
            return False
    return True


def _is(path: Path, sha256: str) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and sha256_of(path) == sha256
    except OSError:
        return False


def _rename(source: Path, target: Path) -> None:
    """Move a file to a free name, or go on where a killed one had given it both names.

    The folder that loses the name is synced after the one that gains it.
    """
    make_directory(target.parent)
    try:
        if not (os.path.lexists(target) and target.samefile(source)):
            os.link(source, target, follow_symlinks=False)  # unlike a rename, it never replaces what came meanwhile
        sync_directory(target.parent)
        source.unlink()
        sync_directory(source.parent)
    except FileExistsError as error:
        raise DriftError(
            f"{source} was not moved", why=f"{target} came there meanwhile", remedy="give the same command again"
        ) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ProgramError(
                f"{source} was not moved",
                why="the data can only be read",
                remedy="give a copy of it that can be written",
            ) from error
        raise_write_error(error, f"{source} was not moved")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.dedup.removal",
        description="Move the copies that a run found out of the data, or back.",
        epilog="Example: --list results/checkpoints/dedup/2026-03-01/r1/duplicates.json --data pictures --to copies",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", type=Path, metavar="FILE", help="a run's duplicates.json")
    what.add_argument("--undo", type=Path, metavar="DIR", help="put back what was moved into DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the data set that the run looked at")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the copies go, on the same disk")
    parser.add_argument("--dry-run", action="store_true", help="say what would be moved, and move nothing")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    options = parser.parse_args(arguments)
    if options.list and not (options.data and options.to):
        parser.error("--list needs --data and --to")
    if options.undo and (options.data or options.to or options.dry_run):
        parser.error("--undo needs nothing else: undo.json says where things were")
    try:
        if options.undo:
            done = undo(options.undo)
        else:
            done = remove(read_list(options.list), options.data, options.to, dry_run=options.dry_run)
    except FileNotFoundError as error:
        sys.stderr.write(f"{UsageError(f'{error.filename} is missing', why='it is not there', remedy='give it')}\n")
        return 2
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    for line in done.left:
        sys.stderr.write(f"left: {line}\n")
    if options.json:
        result = {"moved": done.moved, "moved_before": done.before, "left": done.left, "dry_run": options.dry_run}
        sys.stdout.write(f"{json.dumps(result, indent=1)}\n")
    else:
        word = "would be moved" if options.dry_run else "moved back" if options.undo else "moved"
        sys.stdout.write(f"{done.moved} {word}, {done.before} were before, {len(done.left)} left\n")
    return 5 if done.left else 0


if __name__ == "__main__":
    sys.exit(main())
