"""What lies on the results Volume, and the calls that make it: `python -m deploy.modal.results VERB ...`.

Run by the toolkit, which knows no Modal, from any machine with a token. Every verb prints one JSON document.

    list  --volume NAME [--run RUN_ID]      every run's record and every launch, whole; how calls that may run stand
    files --volume NAME FOLDER              the files below a folder: {path: size in bytes}
    get   --volume NAME --into DIR          fetch the files of standard input (a JSON list of paths), each whole
    put   --volume NAME PATH                write standard input to a path where nothing is yet
    stop  CALL_ID                           cancel a call: SIGUSR1 in its container, which saves and ends
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import modal
from modal.types import FileEntryType

from deploy.modal.state import state_of
from trimtab.errors import ProgramError, TrimtabError, UsageError
from trimtab.storage.durable import make_directory, raise_write_error, sync_directory
from trimtab.storage.launches import FOLDER as LAUNCHES

RUNS: Final = "runs"
_AT_ONCE: Final = 8
_SMALL_BYTES: Final = 8 * 1024**2


@contextmanager
def explained(verb: str) -> Iterator[None]:
    """Raise ProgramError for what Modal's client raises: it says nothing of what to do."""
    try:
        yield
    except modal.exception.Error as error:
        raise ProgramError(
            f"Modal did not {verb}",
            why=f"{type(error).__name__}: {error}",
            remedy="check for which Modal the client is set up: MODAL_SERVER_URL, `modal token info`",
        ) from error


def volume_or_none(name: str) -> modal.Volume | None:
    """Return a Volume, or None where nobody has launched anything yet."""
    volume = modal.Volume.from_name(name)
    try:
        volume.hydrate()
    except modal.exception.NotFoundError:
        return None
    return volume


@dataclass(frozen=True, slots=True)
class OnVolume:
    """The files of runs on a Volume, to be fetched (trimtab.storage.run_files.Source)."""

    volume: modal.Volume

    def files(self, folder: str) -> Mapping[str, int]:
        """Return the sizes in bytes of the files below a folder."""
        return files(self.volume, folder)

    def get(self, paths: Iterable[str], into: Path, say: Callable[[str], None]) -> tuple[str, ...]:
        """Fetch files, each whole; return those that are not there any more."""
        say(f"fetching into {into}")
        return tuple(get(self.volume, paths, into))


def listed(volume: modal.Volume, run_id: str | None) -> dict[str, Any]:
    """Return the records, the launches and the states of the calls that are not known to be over."""
    names = [f"{RUNS}/{run_id}.json"] if run_id else _names(volume, RUNS)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        records = dict(zip(names, pool.map(lambda name: _document(volume, name), names), strict=True))
        launches = _names(volume, LAUNCHES)
        sent = dict(zip(launches, pool.map(lambda name: _document(volume, name), launches), strict=True))
        if run_id:
            sent = {name: one for name, one in sent.items() if isinstance(one, dict) and one.get("run_id") == run_id}
        calls = sorted(_open_calls(records.values(), sent.values()))
        states = dict(zip(calls, pool.map(_state, calls), strict=True))
        # What ended after its record was read and before its call was asked for has a newer record by now.
        stale = [name for name, record in records.items() if was_under_way(record, states)]
        records |= zip(stale, pool.map(lambda name: _document(volume, name), stale), strict=True)
    return {
        "records": {name: record for name, record in records.items() if record is not None},
        "launches": {name: launch for name, launch in sent.items() if launch is not None},
        "calls": states,
    }


def files(volume: modal.Volume, folder: str) -> dict[str, int]:
    """Return the sizes of all files below a folder, by their path; nothing where there is no such folder."""
    try:
        entries = volume.listdir(folder, recursive=True)
    except (modal.exception.NotFoundError, FileNotFoundError):
        return {}
    return {entry.path: entry.size for entry in entries if entry.type == FileEntryType.FILE}


def get(volume: modal.Volume, paths: Iterable[str], into: Path) -> list[str]:
    """Fetch files to the same paths below a folder, each whole or not at all. Returns those that are not there."""

    def fetch(path: str) -> str | None:
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts:
            raise UsageError(f"{path!r} is not a path in a Volume", why="it leads out of it", remedy="leave it out")
        try:
            _fetch(volume, path, into / relative)
        except (modal.exception.NotFoundError, FileNotFoundError):
            return path
        sys.stderr.write(f"{path}\n")
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [path for path in pool.map(fetch, paths) if path is not None]


def put(volume: modal.Volume, path: str, content: bytes) -> None:
    """Write a file to a path where nothing is yet. Raises FileExistsError when something is there."""
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(content), f"/{path}")


def _fetch(volume: modal.Volume, path: str, target: Path) -> None:
    make_directory(target.parent)
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as stream:
            for chunk in volume.read_file(path):
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            raise
        raise_write_error(error, f"{target} was not written")


def _names(volume: modal.Volume, folder: str) -> list[str]:
    return sorted(
        path
        for path, size in files(volume, folder).items()
        if path.endswith(".json") and not PurePosixPath(path).name.startswith(".") and size <= _SMALL_BYTES
    )


def _document(volume: modal.Volume, path: str) -> Any:
    """Return what a small file says, its text where it is no JSON, None where it is not there (any more)."""
    try:
        content = b"".join(volume.read_file(path))
    except (modal.exception.NotFoundError, FileNotFoundError):
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _open_calls(records: Iterable[Any], launches: Iterable[Any]) -> set[str]:
    """Return the calls of runs that are not finished: each may run still."""
    known = [record for record in records if isinstance(record, dict)]
    attempts = {record["run_id"]: record.get("attempts", []) for record in known if "run_id" in record}
    finished = {run_id for run_id, tried in attempts.items() if tried and tried[-1].get("outcome") == "finished"}
    calls = {attempt.get("call") for run_id, tried in attempts.items() if run_id not in finished for attempt in tried}
    sent = [launch for launch in launches if isinstance(launch, dict)]
    calls |= {launch.get("call_id") for launch in sent if launch.get("run_id") not in finished}
    return {call for call in calls if isinstance(call, str)}


def was_under_way(record: Any, states: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a record's last attempt had not ended, though its call has."""
    attempts = record.get("attempts") if isinstance(record, dict) else None
    if not attempts or attempts[-1].get("outcome") != "running":
        return False
    return states.get(attempts[-1].get("call"), {}).get("state") not in (None, "running")


def _state(call_id: str) -> dict[str, Any]:
    try:
        answer = state_of(call_id)
    except modal.exception.NotFoundError as error:  # results are kept for seven days
        return {"state": "forgotten", "error": str(error)}
    return {"state": answer["state"], "error": answer["error"]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.modal.results", description="What lies on the Volume.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in (("list", ()), ("files", ("folder",)), ("get", ()), ("put", ("path",)), ("stop", ("call",))):
        one = verbs.add_parser(verb)
        for word in words:
            one.add_argument(word)
        if verb != "stop":
            one.add_argument("--volume", required=True, metavar="NAME")
    verbs.choices["list"].add_argument("--run", metavar="RUN_ID")
    verbs.choices["get"].add_argument("--into", type=Path, required=True, metavar="DIR")
    return parser


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    if options.verb == "stop":
        modal.FunctionCall.from_id(options.call).cancel()
        return {"call_id": options.call, "stopped": True}
    if options.verb == "put":
        put(modal.Volume.from_name(options.volume, create_if_missing=True), options.path, sys.stdin.buffer.read())
        return {"path": options.path}
    volume = volume_or_none(options.volume)
    if volume is None:
        return {"records": {}, "launches": {}, "calls": {}, "files": {}, "missing": []}
    match options.verb:
        case "list":
            return listed(volume, options.run)
        case "files":
            return {"files": files(volume, options.folder)}
        case _:
            return {"missing": get(volume, json.load(sys.stdin), options.into)}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with explained(options.verb):
            answer = _answer(options)
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
