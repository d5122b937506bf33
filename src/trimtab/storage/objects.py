"""Objects of a bucket: errors in this house's words, and many at once. Imports botocore only when it is used.

Clients are passed in, so that whose rights they have is decided, and can be tested, elsewhere.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from trimtab.storage.manifests import FileEntry

_DENIED: Final = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A prefix of a bucket, and as whom we are there, for the messages. The prefix ends in `/`."""

    bucket: str
    prefix: str
    role: str = "the credentials in use"

    def __post_init__(self) -> None:
        """Refuse a prefix that is none: it would name other keys than meant."""
        if not self.prefix.endswith("/") or self.prefix.startswith("/"):
            raise UsageError(
                f"{self.prefix!r} is not a prefix",
                why="it does not end in `/`, or begins with it",
                remedy="write `name/`",
            )

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a transfer is."""

    files_done: int
    files: int
    bytes_done: int
    size_bytes: int


@contextmanager
def explained(doing: str, place: Place) -> Iterator[None]:
    """Raise ProgramError, naming role, bucket and prefix, where the bucket refuses or cannot be reached."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _DENIED:
            raise ProgramError(
                f"{doing} {place} was refused",
                why=f"{place.role} has no right to {error.operation_name} there ({code})",
                remedy="check the role's policy against the catalogue's prefixes: `trimtab infra preview`",
            ) from error
        if code == "NoSuchBucket":
            raise ProgramError(
                f"{doing} {place} failed",
                why=f"there is no bucket {place.bucket}",
                remedy="provision it: `trimtab infra up`",
            ) from error
        raise ProgramError(f"{doing} {place} failed", why=str(error), remedy="see what the bucket answered") from error
    except BotoCoreError as error:
        raise ProgramError(
            f"{doing} {place} failed",
            why=str(error),
            remedy="check that its endpoint answers, then give the same command again: what is done is kept",
        ) from error


def in_parallel(
    client: S3Client,
    entries: Sequence[FileEntry],
    work: Callable[[FileEntry], None],
    progress: Callable[[Progress], None],
) -> None:
    """Do the work for every entry, as many at once as the client has connections; the first failure ends the rest."""
    size_bytes, files_done, bytes_done = sum(entry.size_bytes for entry in entries), 0, 0
    connections: int = client.meta.config.max_pool_connections  # type: ignore[attr-defined]  # the stubs lack it
    with ThreadPoolExecutor(max_workers=connections) as pool:
        futures = {pool.submit(work, entry): entry for entry in entries}
        try:
            for future in as_completed(futures):
                future.result()
                files_done, bytes_done = files_done + 1, bytes_done + futures[future].size_bytes
                progress(
                    Progress(files_done=files_done, files=len(entries), bytes_done=bytes_done, size_bytes=size_bytes)
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
