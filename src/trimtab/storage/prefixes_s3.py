"""A prefix of a bucket by S3's own calls, for the toolkit's side. Imports boto3 only when it is used.

A put is there whole or not at all. The parts of a big one that was killed half-way are not listed and cost until the
bucket's lifecycle rule takes them away (infra/data_bucket.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from trimtab.errors import ProgramError
from trimtab.storage.objects import Place, explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

_ABSENT: Final = frozenset({"NoSuchKey", "404"})
_AT_ONCE: Final = 1000  # of S3's DeleteObjects


@dataclass(frozen=True, slots=True)
class S3Prefix:
    """Objects of a bucket below a place's prefix, with the rights of the client."""

    client: S3Client
    place: Place

    def __str__(self) -> str:
        return str(self.place)

    def sizes(self, below: str) -> Mapping[str, int]:
        """Return the size in bytes of each object whose name begins with `below`."""
        found: dict[str, int] = {}
        with explained("listing", self.place):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.place.bucket, Prefix=self.place.prefix + below):
                for item in page.get("Contents", ()):
                    found[item["Key"].removeprefix(self.place.prefix)] = item["Size"]
        return found

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Open an object to read it from its beginning. Raises FileNotFoundError when it is not there."""
        from botocore.exceptions import ClientError

        with explained("reading from", self.place):
            try:
                answer = self.client.get_object(Bucket=self.place.bucket, Key=self.place.prefix + name)
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT:
                    raise FileNotFoundError(f"{self.place}{name}") from error
                raise
            with answer["Body"] as body:
                yield cast("BinaryIO", body)

    def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:
        """Write an object; it carries its checksum as the files of a data set do."""
        extra = {"Metadata": {"sha256": sha256}} if sha256 else {}
        with explained("writing to", self.place):
            self.client.upload_fileobj(content, self.place.bucket, self.place.prefix + name, ExtraArgs=extra)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, in any order."""
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            with explained("removing from", self.place):
                answer = self.client.delete_objects(
                    Bucket=self.place.bucket,
                    Delete={"Objects": [{"Key": self.place.prefix + name} for name in some], "Quiet": True},
                )
            if errors := answer.get("Errors"):
                raise ProgramError(
                    f"{self.place} kept {len(errors)} objects that were to be removed",
                    why=f"{errors[0].get('Key')}: {errors[0].get('Message')}",
                    remedy="check the role's policy (s3:DeleteObject); nothing else was changed",
                )
