"""Ask every place that knows of runs: this machine's results, the Volume on Modal, the bucket. Changes nothing there.

A place that does not answer hides none of the others, unless it was asked for by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from trimtab.emulation import aws
from trimtab.errors import ProgramError, TrimtabError, UsageError
from trimtab.process import Runner
from trimtab.project import Project
from trimtab.steps.modal_client import ModalClient, connect_or_none
from trimtab.storage.launches import list_launches
from trimtab.storage.objects import Place
from trimtab.storage.registry import Found, Registry, Run, read_found, registry_of
from trimtab.storage.run_files import Source
from trimtab.storage.runs import RunRecord, list_runs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from trimtab.storage.prefixes_s3 import S3Prefix

PlaceName = Literal["here", "modal", "bucket"]
PLACES: Final[tuple[PlaceName, ...]] = ("here", "modal", "bucket")
_RUNS: Final = "runs/"
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom to ask: the places by name, or, where none is named, all that are set up. `client` is Modal where known."""

    project: Project
    runner: Runner
    places: tuple[PlaceName, ...] = ()
    embedded: bool = False
    stack: str = "dev"
    client: ModalClient | None = None

    def registry(self, run_id: str | None = None) -> Registry:
        """Return what the places know, of all runs or of one. Raises what a place that was named raises."""
        ask: Mapping[PlaceName, Callable[[], Found | None]] = {
            "here": lambda: self._here(run_id),
            "modal": lambda: self._modal(run_id),
            "bucket": lambda: self._bucket(run_id),
        }
        found = []
        for name in self.places or PLACES:
            try:
                answer = ask[name]()
            except TrimtabError as error:
                if self.places:
                    raise
                answer = Found(place=name, problems=(f"{name}: {error.what}: {error.why}",))
            if answer is not None:
                found.append(answer)
        return registry_of(found)

    def run(self, run_id: str) -> Run:
        """Return one run. Raises UsageError when no place knows it."""
        registry = self.registry(run_id)
        for run in registry.runs:
            if run.run_id == run_id:
                return run
        raise UsageError(
            f"there is no run {run_id}",
            why="; ".join(registry.problems) or "no place that was asked has a record or a launch of it",
            remedy="`trimtab runs list` names those that there are; --on modal or --on bucket asks there",
        )

    def modal(self) -> ModalClient:
        """Return the Modal that is set up. Raises UsageError when none is."""
        client = self.client or connect_or_none(self.project, self.runner, embedded=self.embedded)
        if client is None:
            raise UsageError(
                "there is no Modal to ask",
                why="there is no token, no MODAL_SERVER_URL, and this project's embedded Modal does not run",
                remedy="make a token with `modal token new`, or start the embedded one: trimtab modal up",
            )
        return client

    def source(self, run: Run) -> Source:
        """Return where a run's files can be fetched from: Modal before the bucket. Raises UsageError where nowhere."""
        if "modal" in run.places and "bucket" not in self.places:
            return self.modal()
        if "bucket" in run.places:
            return _BucketSource(self._prefix(run.job))
        raise UsageError(
            f"the run {run.run_id} lies here already",
            why="neither the Volume nor the bucket has a record of it",
            remedy=f"see {self.project.state / 'results'}",
        )

    def _here(self, run_id: str | None) -> Found:
        results = self.project.state / "results"
        runs, sent = list_runs(results), list_launches(results)
        return Found(
            place="here",
            records=tuple(record for record in runs.records if run_id in (None, record.run_id)),
            launches=tuple(launch for launch in sent.launches if run_id in (None, launch.run_id)),
            problems=(*runs.unreadable, *sent.unreadable),
        )

    def _modal(self, run_id: str | None) -> Found | None:
        if not self.places and connect_or_none(self.project, self.runner, embedded=self.embedded) is None:
            return None
        client = self.modal()
        return read_found("modal", client.listed(run_id))

    def _bucket(self, run_id: str | None) -> Found | None:
        if not self.places and aws.status(self.project.state / "aws") is None:
            return None  # with an account it is asked when it is named: that takes credentials, and time
        records: dict[str, Any] = {}
        for job in self.project.catalogue.jobs:
            prefix = self._prefix(job)
            for name in prefix.sizes(_RUNS):
                if name.endswith(".json") and run_id in (None, Path(name).stem):
                    with prefix.reading(name) as stream:
                        records[f"{prefix.place}{name}"] = _parsed(stream.read())
        return read_found("bucket", {"records": records})

    def _prefix(self, job: str) -> S3Prefix:
        from trimtab.storage.prefixes_s3 import S3Prefix

        catalogue = self.project.catalogue
        place = Place(bucket=catalogue.bucket_name(self.stack), prefix=catalogue.jobs[job].results)
        return S3Prefix(self._s3(), place)

    def _s3(self) -> S3Client:
        region = self.project.catalogue.aws.region
        running = aws.status(self.project.state / "aws")
        if running is not None:
            return running.operator_client("s3", region=region)
        import boto3

        session = boto3.Session(region_name=region)
        if session.get_credentials() is None:
            raise UsageError(
                "AWS does not know who asks",
                why="there are no credentials, and this project's embedded AWS does not run",
                remedy="sign in (`aws sso login`, AWS_PROFILE), or: trimtab infra up --embedded",
            )
        return session.client("s3")


@dataclass(frozen=True, slots=True)
class _BucketSource:
    """The files of a job's runs in the bucket."""

    prefix: S3Prefix

    def files(self, folder: str) -> Mapping[str, int]:
        return self.prefix.sizes(f"{folder}/")

    def get(self, paths: Iterable[str], into: Path, say: Callable[[str], None]) -> tuple[str, ...]:
        return tuple(_get(self.prefix, paths, into, say))


def _get(prefix: S3Prefix, paths: Iterable[str], into: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Fetch objects whole; yield those that are not there any more."""
    from trimtab.storage.durable import make_directory, raise_write_error

    for path in paths:
        target = into / path
        make_directory(target.parent)
        partial = target.with_name(f".{target.name}.part")
        try:
            with prefix.reading(path) as source:
                try:
                    with partial.open("wb") as stream:
                        while chunk := source.read(_CHUNK_BYTES):
                            stream.write(chunk)
                    partial.replace(target)
                except OSError as error:
                    raise_write_error(error, f"{target} was not written")
        except FileNotFoundError:
            yield path
            continue
        say(path)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        return str(error)


def call_of(run: Run, remedy: str) -> str:
    """Return the call that a person means by a run. Raises UsageError when it has none."""
    if run.call_ids:
        return run.open_call or run.call_ids[0]
    raise UsageError(
        f"the run {run.run_id} is not one of Modal's",
        why="no launch and no attempt of it names a call; it was trained on a machine of its own",
        remedy=remedy,
    )


def record_of(run: Run) -> RunRecord:
    """Return a run's record. Raises ProgramError while its first attempt has not begun."""
    if run.record is None:
        raise ProgramError(
            f"the run {run.run_id} has no record yet",
            why=f"its first attempt has not begun; it is {run.state}" + (f": {run.error}" if run.error else ""),
            remedy=f"look again, or read what it says: trimtab runs follow {run.run_id}",
        )
    return run.record
