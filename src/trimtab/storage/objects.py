"""Objects of a bucket: errors in this house's words, and many at once. Imports botocore only when it is used.

Clients are passed in, so that whose rights they have is decided, and can be tested, elsewhere.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.turns import take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mypy_boto3_s3 import S3Client

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


class _Sized(Protocol):
    @property
    def size_bytes(self) -> int: ...


Item = TypeVar("Item", bound=_Sized)


@contextmanager
def explained(doing: str, place: Place) -> Iterator[None]:
    """Raise ProgramError, naming role, bucket and prefix, where the bucket refuses or cannot be reached."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

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
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ProgramError(
            f"{doing} {place} failed",
            why=f"nobody is signed in to AWS here: {error}",
            remedy="sign in (`aws sso login`, or AWS_PROFILE), or add --embedded for this machine's own bucket",
        ) from error
    except BotoCoreError as error:
        raise ProgramError(
            f"{doing} {place} failed",
            why=str(error),
            remedy="check that its endpoint answers, then give the same command again: what is done is kept",
        ) from error


def in_parallel(
    client: S3Client,
    items: Iterable[Item],
    work: Callable[[Item], int],
    progress: Callable[[Progress], None] = lambda _: None,
    *,
    files: int = 0,
) -> None:
    """Do the work for every item, as many at once as the client has connections; the first failure ends the rest.

    The work returns how many files became complete with it. Items are taken one by one, so that a million of them
    costs no more memory than a few. Progress is told as of `files` files and all items' bytes, by one thread at a time.
    """
    items = list(items)
    size_bytes, files_done, bytes_done, lock = sum(item.size_bytes for item in items), 0, 0, Lock()

    def work_and_tell(item: Item) -> None:
        nonlocal files_done, bytes_done
        completed = work(item)
        with lock:
            files_done, bytes_done = files_done + completed, bytes_done + item.size_bytes
            progress(Progress(files_done=files_done, files=files, bytes_done=bytes_done, size_bytes=size_bytes))

    connections: int = client.meta.config.max_pool_connections  # type: ignore[attr-defined]  # the stubs lack it
    take_turns(items, work_and_tell, threads=min(connections, len(items)))
