"""One push at a time to a place of a bucket: an object that says who is at it, renewed for as long as they live.

S3 has no locks, but it writes an object only where there is none, or where the one that was seen still is
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). A lease is taken over when its process
is gone from this machine, or when it was not renewed for a minute by the bucket's own clock. Touches that one object.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import DriftError, UsageError

if TYPE_CHECKING:
    from typing import Self

    from mypy_boto3_s3 import S3Client

    from trimtab.storage.objects import Place

LEASE: Final = ".PUSH.json"  # a name with a leading dot belongs to no data set
RENEW_S: Final = 10.0
EXPIRES_S: Final = 60.0
# The last two: it went away, or is being written, between our look and our write.
NOT_MET: Final = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404", "ConditionalRequestConflict"})
_TRIES: Final = 5
_LETS_GO_S: Final = 1.0
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a machine is suspended


@dataclass(kw_only=True)
class Lease:
    """Holds a place, as a context manager. Raises UsageError where somebody else does."""

    client: S3Client
    place: Place
    renew_s: float = RENEW_S
    _id: str = field(default_factory=lambda: secrets.token_hex(8))
    _began: str = field(default_factory=lambda: _now().isoformat(timespec="seconds"))
    _etag: str = ""
    _renewed_s: float = 0.0
    _is_lost: bool = False
    _over: Event = field(default_factory=Event)

    def __enter__(self) -> Self:
        """Take the place, of nobody or of one who is gone, and begin to renew."""
        self._take()
        self._thread = Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let go of the place, unless it is somebody else's by now. Where that fails, it expires."""
        self._over.set()
        # Who interrupts does not wait for a server that is silent: when the process is gone, so is what it held.
        self._thread.join(None if kind is None or issubclass(kind, Exception) else _LETS_GO_S)

    def check(self) -> None:
        """Raise DriftError when the place may be somebody else's by now: nothing more must be written there."""
        unheard_s = time.clock_gettime(_CLOCK) - self._renewed_s
        if self._is_lost or unheard_s > EXPIRES_S - self.renew_s:
            holder = self._holder() if self._is_lost else None
            raise DriftError(
                f"the push to {self.place} was stopped: the place is not held for it any more",
                why=f"{holder.told} took it over" if holder else f"it could not be renewed for {unheard_s:.0f} s",
                remedy="push again when nobody else does: only what differs travels, and what was mixed is mended",
            )

    @property
    def _key(self) -> str:
        return self.place.prefix + LEASE

    def _take(self) -> None:
        holder = None
        for _ in range(_TRIES):  # it may change hands between two requests
            if self._write(IfNoneMatch="*"):
                return
            holder = self._holder()
            if holder is not None and holder.is_gone and self._write(IfMatch=holder.etag):
                return
            if holder is not None and not holder.is_gone:
                break
        raise UsageError(
            f"another push to {self.place} is under way",
            why=f"{holder.told if holder else 'somebody'} is at it; two at once would mix their files",
            remedy="wait for its end, then push again: only what differs travels; one that was killed on another"
            f" machine is let go of after {EXPIRES_S:.0f} s",
        )

    def _renew(self) -> None:
        """Renew until it is over, then let go."""
        from botocore.exceptions import BotoCoreError, ClientError

        while not self._over.wait(self.renew_s):
            with suppress(BotoCoreError, ClientError):  # not reached: again the next time, and `check` counts the time
                if not self._write(IfMatch=self._etag):
                    self._is_lost = True
                    return
        with suppress(BotoCoreError, ClientError):
            self.client.delete_object(Bucket=self.place.bucket, Key=self._key, IfMatch=self._etag)

    def _write(self, **condition: str) -> bool:
        """Write the lease where the condition holds; say whether it did."""
        from botocore.exceptions import ClientError

        asked_s = time.clock_gettime(_CLOCK)
        content = {
            "id": self._id,
            "who": who(),
            "began": self._began,
            "renewed": _now().isoformat(),
            "process": _process(os.getpid()),
        }
        body = json.dumps(content).encode()
        try:
            answer = self.client.put_object(Bucket=self.place.bucket, Key=self._key, Body=body, **condition)  # type: ignore[arg-type]  # the condition is one of two
        except ClientError as error:
            if error.response["Error"]["Code"] not in NOT_MET:
                raise
            holder = self._holder()
            if holder is None or holder.said.get("id") != self._id:
                return False
            self._etag = holder.etag  # a request that was sent twice, its first answer lost
        else:
            self._etag = answer["ETag"]
        self._renewed_s = asked_s
        return True

    def _holder(self) -> _Holder | None:
        """Return who holds the place, or None where nobody does."""
        try:
            answer = self.client.get_object(Bucket=self.place.bucket, Key=self._key)
        except self.client.exceptions.NoSuchKey:
            return None
        try:
            content = json.loads(answer["Body"].read())
        except (ValueError, RecursionError):
            content = None
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else _now()
        age_s = max(0.0, (now - answer["LastModified"]).total_seconds())
        return _Holder(etag=answer["ETag"], age_s=age_s, said=content if isinstance(content, dict) else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    etag: str
    age_s: float
    said: dict[str, Any]

    @property
    def told(self) -> str:
        return f"{self.said.get('who')} (since {self.said.get('began')}, last heard of {self.age_s:.0f} s ago)"

    @property
    def is_gone(self) -> bool:
        process, ours = self.said.get("process"), _process(os.getpid())
        if self.age_s > EXPIRES_S:
            return True
        if not isinstance(process, dict) or ours is None or any(process.get(k) != ours[k] for k in _MACHINE):
            return False
        return isinstance(process.get("pid"), int) and _process(process["pid"]) != process


_MACHINE: Final = ("host", "boot", "namespace")


def who() -> str:
    """Return who we are, for others to read."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user id without a name, as in a container
        return f"{os.getuid()}@{socket.gethostname()}"


def _process(pid: int) -> dict[str, Any] | None:
    """Return what tells a process of this machine from every other, ever; None where there is none, or no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
    if fields[0] in "ZX":  # it is dead, and nobody has asked yet how it died
        return None
    return {"host": socket.gethostname(), "boot": boot, "namespace": namespace, "pid": pid, "started": int(fields[19])}


def _now() -> datetime:
    return datetime.now(UTC)
