"""`trimtab data`: data sets in the bucket or on a Volume."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from trimtab.cli.options import CATALOGUE, JSON, STACK
from trimtab.console import Console
from trimtab.errors import DriftError, UsageError
from trimtab.project import Project, find_project
from trimtab.units import format_size

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from trimtab.steps.modal_client import ModalClient
    from trimtab.storage.objects import Place, Progress

Where = Literal["bucket", "volume"]

_SAY_EVERY_S: Final = 1.0
_NAMED: Final = 20
_JOB = click.option("--job", metavar="JOB", help="Whose data set; needed where the catalogue has several.")
_EMBEDDED = click.option("--embedded", is_flag=True, help="This machine's own AWS or Modal: no account.")
_WHERE = click.option(
    "--in", "where", type=click.Choice(["bucket", "volume"]), default="bucket", show_default=True, help="Where it lies."
)


@click.group()
def data() -> None:
    """Push data sets to the bucket or to a Volume, list and verify them, and bring them here.

    A data set is a folder; it lies under its job's data prefix. What is sent is checked by checksum, what is there is
    not sent again, nothing is removed, and a manifest that is written last says what belongs to it.

    \b
    Examples:
      trimtab data push DIR --to bucket --job NAME            upload once; the second time only what changed
      trimtab data push DIR --to volume --job NAME            packed in shards, for Modal
      trimtab data ls                                         which data sets there are
      trimtab data verify --job NAME                          read every byte; 5 and their names when any is wrong
    """


@data.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--to", "where", type=click.Choice(["bucket", "volume"]), required=True, help="Where it shall lie.")
@_JOB
@click.option("--check", is_flag=True, help="Read what is there already, every byte, and send again what is wrong.")
@STACK
@_EMBEDDED
@CATALOGUE
@JSON
def push(
    *,
    directory: Path,
    where: Where,
    job: str | None,
    check: bool,
    stack: str,
    embedded: bool,
    catalogue: Path | None,
    as_json: bool,
) -> None:
    """Send the files of DIR that are not there yet, then the manifest. Cut off, the same command goes on.

    Names with a leading dot stay here; links are refused. On a Volume small files lie together in tar files, which
    `trimtab.storage.packed` reads one by one. Of two pushes to one place at once the second is refused, or told that
    the first has published.

    \b
    Examples:
      trimtab data push pictures --to bucket --job NAME
      trimtab data push pictures --to volume --job NAME --embedded
      trimtab data push pictures --to volume --job NAME --check       mend what `verify` named
    """
    project = find_project(catalogue)
    name, prefix = _data_set(project, job)
    console = Console(as_json=as_json)
    document: dict[str, Any] = {"job": name, "in": where}
    if where == "bucket":
        from trimtab.storage.datasets import push as send

        client, place = _bucket(project, stack, prefix, embedded=embedded)
        pushed = send(client, directory, place, check=check, progress=_told(console, "sent"))
        document |= {"place": str(place), **asdict(pushed)}
        sent = f"{pushed.sent_files} files, {format_size(pushed.sent_bytes)}"
    else:
        from trimtab.storage.folders import files_below

        files_below(directory)  # what is wrong with it is said here, before Modal is asked for
        modal = _modal(project, embedded=embedded)
        words = ("--dataset", prefix, "--from", str(directory.absolute()), *(("--check",) if check else ()))
        answer = modal.data("push", *words, say=console.say)
        document |= {"place": _volume_place(project, prefix), **answer}
        sent = f"{answer['sent_shards']} shards, {format_size(answer['sent_bytes'])}"

    def text() -> None:
        size = format_size(document["size_bytes"])
        console.line(f"{document['place']}: {document['files']} files, {size}; sent {sent}")
        console.line(f"sha256    {document['sha256']}")
        if document["unlisted"]:
            console.line(f"beside it {len(document['unlisted'])} that no longer belong to it, such as")
            console.line(f"          {document['unlisted'][0]}; nothing was removed")

    console.result(document, text=text)


@data.command("ls")
@_WHERE
@_JOB
@click.option("--files", "with_files", is_flag=True, help="Each file, with its size and checksum.")
@STACK
@_EMBEDDED
@CATALOGUE
@JSON
def list_data(
    *,
    where: Where,
    job: str | None,
    with_files: bool,
    stack: str,
    embedded: bool,
    catalogue: Path | None,
    as_json: bool,
) -> None:
    """List the data sets of the catalogue's jobs: whether each is there, how many files, and their digest.

    \b
    Examples:
      trimtab data ls
      trimtab data ls --in volume --job NAME --files --json
    """
    project = find_project(catalogue)
    console = Console(as_json=as_json)
    jobs = project.catalogue.jobs if job is None else (_data_set(project, job)[0],)
    read = _reader(project, where, stack, embedded=embedded)
    found: dict[str, Mapping[str, Any]] = {}
    documents = []
    for name in jobs:
        prefix = project.catalogue.jobs[name].data
        if prefix not in found:  # jobs may share one
            found[prefix] = read(prefix)
        files = found[prefix].get("files", [])
        document = {
            "job": name,
            **found[prefix],
            "files": len(files),
            "size_bytes": sum(f["size_bytes"] for f in files),
        }
        documents.append({**document, "entries": files} if with_files else document)

    def text() -> None:
        rows = [
            (one["job"], one["place"], str(one["files"]), format_size(one["size_bytes"]), (one["sha256"] or "-")[:12])
            for one in documents
        ]
        console.table("Data sets", ("job", "place", "files", "size", "sha256"), rows)
        for one in documents if with_files else ():
            for file in one["entries"]:
                console.line(f"{file['sha256']}  {file['size_bytes']:>12}  {one['job']}  {file['path']}")

    console.result({"in": where, "data": documents}, text=text)


@data.command()
@_WHERE
@_JOB
@click.option("--quick", is_flag=True, help="Names and sizes only: one listing, and no file is read.")
@STACK
@_EMBEDDED
@CATALOGUE
@JSON
def verify(
    *, where: Where, job: str | None, quick: bool, stack: str, embedded: bool, catalogue: Path | None, as_json: bool
) -> None:
    """Compare a data set with its manifest, byte for byte; exit 5, and name what is wrong, where they differ.

    \b
    Examples:
      trimtab data verify --job NAME
      trimtab data verify --in volume --job NAME --quick
    """
    project = find_project(catalogue)
    name, prefix = _data_set(project, job)
    console = Console(as_json=as_json)
    if where == "bucket":
        from trimtab.storage.verification import verify as compare

        client, place = _bucket(project, stack, prefix, embedded=embedded)
        checked = compare(client, place, contents=not quick, progress=_told(console, "read"))
        document = {"place": str(place), **asdict(checked)}
    else:
        words = ("--dataset", prefix, *(("--quick",) if quick else ()))
        answer = _modal(project, embedded=embedded).data("verify", *words, say=console.say)
        document = {"place": _volume_place(project, prefix), **answer}
    document = {"job": name, "in": where, "contents": not quick, **document}
    problems = document["problems"]

    def text() -> None:
        for problem in problems[:_NAMED]:
            console.line(f"wrong     {problem}")
        read = "names and sizes" if quick else "every byte"
        size = format_size(document["size_bytes"])
        console.line(f"{document['place']}: {document['files']} files, {size}, compared by {read}")

    failure = None
    if problems:
        failure = DriftError(
            f"{len(problems)} files of {document['place']} are not what the manifest says",
            why="; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else ""),
            remedy=f"push it again from where it is whole: trimtab data push DIR --to {where} --job {name} --check",
        )
    console.result(document, text=text, failure=failure)


@data.command()
@click.option("--cache", type=click.Path(path_type=Path), help="Where to; default: where `trimtab train` reads it.")
@_JOB
@STACK
@_EMBEDDED
@CATALOGUE
@JSON
def pull(
    *, cache: Path | None, job: str | None, stack: str, embedded: bool, catalogue: Path | None, as_json: bool
) -> None:
    """Bring a data set from the bucket to this machine, verified and read-only, and print where it lies.

    Cut off, the same command goes on; with nothing changed it fetches nothing. What is damaged is fetched again; what
    we did not make is refused by name.

    \b
    Examples:
      trimtab data pull --job NAME
      trimtab data pull --job NAME --cache /mnt/big/cache --json
    """
    from trimtab.storage.caches import materialise

    project = find_project(catalogue)
    name, prefix = _data_set(project, job)
    console = Console(as_json=as_json)
    client, place = _bucket(project, stack, prefix, embedded=embedded)
    there = materialise(client, place, cache or project.state / "mounts" / name, progress=_told(console, "fetched"))
    document = {"job": name, "place": str(place), **asdict(there), "path": str(there.path)}

    def text() -> None:
        console.line(str(there.path))
        fetched = f"{there.fetched_files} of {there.files} files, {format_size(there.fetched_bytes)}"
        console.say(f"fetched {fetched}; sha256 {there.sha256}")

    console.result(document, text=text)


def _data_set(project: Project, job: str | None) -> tuple[str, str]:
    """Return a job and the prefix of its data. Raises UsageError where it is not known which."""
    from trimtab.steps.plans import require_known

    jobs = project.catalogue.jobs
    if job is None and len(jobs) == 1:
        job = next(iter(jobs))
    if job is None:
        raise UsageError(
            "it is not said whose data set is meant",
            why=f"{project.catalogue_path.name} lists the jobs {', '.join(jobs) or 'none'}",
            remedy="name one: --job JOB",
        )
    require_known("job", job, tuple(jobs))
    return job, jobs[job].data


def _bucket(project: Project, stack: str, prefix: str, *, embedded: bool) -> tuple[S3Client, Place]:
    from trimtab.storage.objects import Place

    place = Place(bucket=project.catalogue.bucket_name(stack), prefix=prefix, role="the person at this desk")
    if not embedded:
        from trimtab.storage.bucket_aws import operator_on_aws

        return operator_on_aws(project.catalogue.aws.region), place
    from trimtab.emulation.bucket import EmbeddedBucket
    from trimtab.process import ProcessRunner

    return EmbeddedBucket(project, ProcessRunner(), stack=stack).operator(), place


def _modal(project: Project, *, embedded: bool) -> ModalClient:
    from trimtab.process import ProcessRunner
    from trimtab.steps.modal_client import connect

    return connect(project, ProcessRunner(), embedded=embedded)


def _volume_place(project: Project, prefix: str) -> str:
    return f"volume://{project.catalogue.modal.data_volume}/{prefix}"


def _reader(project: Project, where: Where, stack: str, *, embedded: bool) -> Callable[[str], Mapping[str, Any]]:
    """Return what gives a data set's place, digest and files; no digest where there is no complete one."""
    if where == "volume":
        modal = _modal(project, embedded=embedded)
        return lambda prefix: {
            "place": _volume_place(project, prefix), "sha256": None, **modal.data("list", "--dataset", prefix)
        }  # fmt: skip

    def read(prefix: str) -> Mapping[str, Any]:
        from trimtab.storage.datasets import read_manifest

        client, place = _bucket(project, stack, prefix, embedded=embedded)
        manifest = read_manifest(client, place)
        files = [] if manifest is None else [entry.as_json() for entry in manifest.files]
        return {"place": str(place), "sha256": manifest and manifest.sha256, "files": files}

    return read


def _told(console: Console, done_word: str) -> Callable[[Progress], None]:
    """Return what says how far a transfer is, once a second at most."""
    last_s = time.monotonic()

    def tell(done: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= _SAY_EVERY_S:
            last_s = time.monotonic()
            size = f"{format_size(done.bytes_done)} of {format_size(done.size_bytes)}"
            console.say(f"{done_word} {done.files_done} of {done.files} files, {size}")

    return tell
