"""A run copied to a bucket as it stands in the results: its record, its files, its checkpoints; and brought back.

The copy has the results' own layout, so that what reads a results directory reads a copy of the prefix, too. Nothing of
a checkpoint counts there before its manifest, and the same policy decides over what the copy has: it removes nothing
that it keeps, whatever became of the original. The training payload imports this module: the bucket is passed in.

    PREFIX/runs/RUN_ID.json
    PREFIX/checkpoints/JOB/YYYY-MM-DD/RUN_ID/...
"""

from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import UsageError
from trimtab.storage.checkpoint_manifests import MANIFEST, MARKER, DamageError, retention_of
from trimtab.storage.checkpoints import CheckpointStore, open_store, published
from trimtab.storage.checkpoints_bucket import BucketCheckpoints, open_bucket_store
from trimtab.storage.durable import make_directory, stream_whole
from trimtab.storage.manifests import path_problems, sha256_of
from trimtab.storage.retention import Retention
from trimtab.storage.runs import RunRecord, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trimtab.storage.checkpoints import Checkpoint
    from trimtab.storage.prefixes import Prefix


class Abandoned(Exception):  # noqa: N818  # no error: somebody has more urgent things to do
    """The copying was told to end before it was done. What is there is whole; the next one goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """Copies one run, as often as asked to. One at a time."""

    prefix: Prefix
    results: Path
    run_id: str
    run_directory: str
    retention: Retention
    notice: Callable[[str], None] = field(default=lambda _: None)
    _sent: dict[str, str] = field(default_factory=dict)

    def copy(self, is_abandoned: Callable[[], bool] = lambda: False) -> None:
        """Bring the copy up to what is published here, its record last.

        Raises TrimtabError, or Abandoned between two objects. A UsageError where the copy is of an attempt that ours
        do not know: it lives, or lived, beside us, and each would remove what the other keeps.
        """
        record = self._record_here()
        self._refuse_another_attempt(record)
        store = open_bucket_store(
            self.prefix, self.run_directory, run_id=self.run_id, retention=self.retention, notice=self.notice
        )
        for path in self._files():
            self._send(path, is_abandoned)
        names = store.tidied_names()  # listed once: below a mount that is many requests
        there = {item.step: item for item in store.checkpoints(names)}
        here = published(self.results / self.run_directory)
        kept = self.retention.reasons((*there.values(), *(item for item in here if item.step not in there)))
        for checkpoint in reversed(here):  # the newest first: it is the one that is missed most
            if is_abandoned():
                raise Abandoned
            if checkpoint.step not in there and kept[checkpoint.step]:
                with suppress(FileNotFoundError):  # the policy took it away here meanwhile
                    source = CheckpointStore(directory=checkpoint.path.parent, retention=self.retention)
                    there[checkpoint.step] = store.take(checkpoint, source, names)
            elif checkpoint.step in there and checkpoint.pinned != there[checkpoint.step].pinned:
                change = store.pin if checkpoint.pinned else store.unpin
                there[checkpoint.step] = change(there[checkpoint.step])
        store.prune(tuple(there.values()))
        if record is not None:
            self.prefix.put(self._record_name, io.BytesIO(record), sha256=sha256(record).hexdigest())

    def is_current(self) -> bool:
        """Say whether the copy has all that belongs to the record that is here: its own is written last."""
        try:
            with self.prefix.reading(self._record_name) as stream:
                return stream.read() == self._record_here()
        except FileNotFoundError:
            return False

    def _refuse_another_attempt(self, record: bytes | None) -> None:
        try:
            with self.prefix.reading(self._record_name) as stream:
                copied = RunRecord.model_validate_json(stream.read()).attempts
        except (FileNotFoundError, ValueError):  # what is no record is replaced
            return
        ours = RunRecord.model_validate_json(record).attempts if record else ()
        if others := {attempt.started for attempt in copied} - {attempt.started for attempt in ours}:
            raise UsageError(
                f"{self.prefix} holds a copy of the run {self.run_id} by another attempt than ours",
                why=f"it began at {max(others).isoformat(timespec='seconds')}, and our record does not know it: two"
                " go on with one run",
                remedy="end one of the two (`trimtab runs` lists them); if it has ended already, bring its copy back"
                " and go on from that, or give another run id: nothing was copied, nothing removed",
            )

    @property
    def _record_name(self) -> str:
        return f"runs/{self.run_id}.json"

    def _record_here(self) -> bytes | None:
        try:
            return (self.results / self._record_name).read_bytes()
        except FileNotFoundError:
            return None

    def _files(self) -> Iterator[Path]:
        """Yield what lies beside the checkpoints: pictures, predictions, the final weights."""
        directory = self.results / self.run_directory
        for folder, below, names in os.walk(directory):
            is_top = Path(folder) == directory
            if is_top:  # what the writer makes and removes meanwhile is not looked into
                below[:] = [name for name in below if not name.startswith((".", "step-"))]
            below.sort()
            for name in sorted(names):
                if not (name.startswith(".") or (is_top and name == MARKER)):
                    yield Path(folder, name)

    def _send(self, path: Path, is_abandoned: Callable[[], bool]) -> None:
        if is_abandoned():
            raise Abandoned
        name = path.relative_to(self.results).as_posix()
        try:
            checksum = sha256_of(path)
            if self._sent.get(name) != checksum:
                with path.open("rb") as stream:
                    self.prefix.put(name, stream, sha256=checksum)
                self._sent[name] = checksum
        except FileNotFoundError:  # replaced or taken away meanwhile; the next copy has what came after it
            return


def restore(
    prefix: Prefix, results: Path, run_id: str, *, notice: Callable[[str], None] = lambda _: None
) -> RunRecord | None:
    """Bring a run's copy back into results that lack it: checkpoints, files, the record last. None: there is no copy.

    A checkpoint of the copy that does not arrive as it was saved is set aside there. What is here already stays.
    Raises UsageError when the copy's record is not one.
    """
    record = _record(prefix, run_id)
    if record is None:
        return None
    copy = BucketCheckpoints(prefix=prefix, directory=f"{record.run_directory}/", retention=Retention(), notice=notice)
    found = copy.checkpoints()
    with open_store(
        results / record.run_directory, run_id=run_id, retention=retention_of(found), notice=notice
    ) as store:
        here = {item.step for item in store.checkpoints()}
        for checkpoint in reversed(found):  # the newest first: cut off in between, it is the one to go on from
            if checkpoint.step not in here:
                _take(store, checkpoint, copy)
        for name in copy.names():
            if not (name.startswith(("step-", ".")) or name in (MARKER, MANIFEST)):
                _fetch(prefix, f"{record.run_directory}/{name}", results)
    if read_run(results, run_id) is None:
        write_run(results, record)
    notice(f"brought the run {run_id} back from {prefix}: {len(found)} checkpoints")
    return record


def _record(prefix: Prefix, run_id: str) -> RunRecord | None:
    try:
        with prefix.reading(f"runs/{run_id}.json") as stream:
            record = RunRecord.model_validate(json.loads(stream.read()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(
            f"{prefix}runs/{run_id}.json is not a record of a run", why=str(error), remedy="move it away"
        ) from error
    if path_problems([record.run_directory]) or not record.run_directory.startswith("checkpoints/"):
        raise UsageError(
            f"{prefix}runs/{run_id}.json cannot be trusted",
            why=f"its directory would be {record.run_directory!r}",
            remedy="look at who wrote it, and move it away",
        )
    return record


def _take(store: CheckpointStore, checkpoint: Checkpoint, copy: BucketCheckpoints) -> None:
    try:
        store.take(checkpoint, copy)
    except DamageError as error:
        copy.set_aside(checkpoint.path.name, error.why)


def _fetch(prefix: Prefix, name: str, results: Path) -> None:
    if problems := path_problems([name]):
        raise UsageError(
            f"{prefix}{name} cannot be brought back", why=problems[0], remedy="remove that object, then try again"
        )
    path = results / name
    if not path.exists():
        make_directory(path.parent)
        with prefix.reading(name) as stream:
            stream_whole(path, lambda sink: shutil.copyfileobj(stream, sink))
