"""What a job's role may and may not do on its bucket, as a table of requests, and the comparison with what it can.

`differences` is the check that must notice a policy that is wider, or narrower, by anything that the table holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.support.embedded import answer_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DENIED: Final = 403
# One request for each action that S3's policies tell apart and the embedded AWS checks. None of them changes what
# another one sees: what is deleted is a key beside (absent, but allowed, is 404 and not 403), and no bucket is empty.
_ON_OBJECTS: Final[Mapping[str, Callable[[Any, str, str], int]]] = {
    "s3:GetObject": lambda s3, bucket, key: answer_of(s3.get_object, Bucket=bucket, Key=key),
    "s3:GetObjectVersion": lambda s3, bucket, key: answer_of(s3.get_object, Bucket=bucket, Key=key, VersionId="v"),
    "s3:GetObjectAcl": lambda s3, bucket, key: answer_of(s3.get_object_acl, Bucket=bucket, Key=key),
    "s3:GetObjectTagging": lambda s3, bucket, key: answer_of(s3.get_object_tagging, Bucket=bucket, Key=key),
    "s3:PutObject": lambda s3, bucket, key: answer_of(s3.put_object, Bucket=bucket, Key=key, Body=b"x"),
    "s3:PutObjectAcl": lambda s3, bucket, key: answer_of(s3.put_object_acl, Bucket=bucket, Key=key, ACL="private"),
    "s3:PutObjectTagging": lambda s3, bucket, key: answer_of(
        s3.put_object_tagging, Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
    ),
    "s3:DeleteObject": lambda s3, bucket, key: answer_of(s3.delete_object, Bucket=bucket, Key=f"{key}.gone"),
    "s3:DeleteObjectVersion": lambda s3, bucket, key: answer_of(
        s3.delete_object, Bucket=bucket, Key=f"{key}.gone", VersionId="v"
    ),
    "s3:AbortMultipartUpload": lambda s3, bucket, key: answer_of(
        s3.abort_multipart_upload, Bucket=bucket, Key=key, UploadId="none"
    ),
    "s3:ListMultipartUploadParts": lambda s3, bucket, key: answer_of(
        s3.list_parts, Bucket=bucket, Key=key, UploadId="none"
    ),
}
_ON_BUCKETS: Final[Mapping[str, Callable[[Any, str], int]]] = {
    "s3:ListBucket": lambda s3, bucket: answer_of(s3.list_objects_v2, Bucket=bucket),
    "s3:ListBucketVersions": lambda s3, bucket: answer_of(s3.list_object_versions, Bucket=bucket),
    "s3:ListBucketMultipartUploads": lambda s3, bucket: answer_of(s3.list_multipart_uploads, Bucket=bucket),
    "s3:GetBucketVersioning": lambda s3, bucket: answer_of(s3.get_bucket_versioning, Bucket=bucket),
    "s3:PutBucketVersioning": lambda s3, bucket: answer_of(
        s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    ),
    "s3:GetBucketPolicy": lambda s3, bucket: answer_of(s3.get_bucket_policy, Bucket=bucket),
    "s3:DeleteBucketPolicy": lambda s3, bucket: answer_of(s3.delete_bucket_policy, Bucket=bucket),
    "s3:GetBucketTagging": lambda s3, bucket: answer_of(s3.get_bucket_tagging, Bucket=bucket),
    "s3:DeleteBucket": lambda s3, bucket: answer_of(s3.delete_bucket, Bucket=bucket),
}
OBJECT_ACTIONS: Final = tuple(_ON_OBJECTS)
BUCKET_ACTIONS: Final = tuple(_ON_BUCKETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bucket, or a key in one, and the actions that the role is meant to be allowed there."""

    bucket: str
    key: str = ""
    allowed: frozenset[str] = frozenset()

    def actions(self) -> tuple[str, ...]:
        """Return what can be asked for here."""
        return OBJECT_ACTIONS if self.key else BUCKET_ACTIONS

    def is_allowed(self, s3: S3Client, action: str) -> bool:
        """Ask, and return whether the answer was anything but a refusal."""
        status = _ON_OBJECTS[action](s3, self.bucket, self.key) if self.key else _ON_BUCKETS[action](s3, self.bucket)
        assert status in (200, 204, 404, 409, DENIED), f"{action} on {self}: the embedded AWS answered {status}"
        return status != DENIED


def expected_places(bucket: str, other_bucket: str, *, data: str, results: str) -> tuple[Place, ...]:
    """Return where the role is tried, with what the house means it to be allowed. Written out, not derived."""
    read = frozenset({"s3:GetObject"})
    write = frozenset({"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"})
    above_data, above_results = (prefix.rstrip("/").rpartition("/")[0] + "/" for prefix in (data, results))
    outside = (
        f"{above_data}another/file",
        f"{above_results}another/file",
        f"{data.rstrip('/')}-too/file",  # a namesake: what a prefix without its slash would let in
        f"{results.rstrip('/')}-too/file",
        "file",
    )
    return (
        Place(bucket=bucket, allowed=frozenset({"s3:ListBucket"})),
        Place(bucket=bucket, key=f"{data}file", allowed=read),
        Place(bucket=bucket, key=f"{results}file", allowed=write),
        *(Place(bucket=bucket, key=key) for key in outside),
        Place(bucket=other_bucket),
        Place(bucket=other_bucket, key=f"{data}file"),
    )


def differences(s3: S3Client, places: tuple[Place, ...]) -> Iterator[str]:
    """Yield each request whose answer is not the one that is meant: `s3:PutObject on b/k: allowed`."""
    for place in places:
        for action in place.actions():
            allowed = place.is_allowed(s3, action)
            if allowed != (action in place.allowed):
                where = f"{place.bucket}/{place.key}" if place.key else place.bucket
                yield f"{action} on {where}: {'allowed' if allowed else 'refused'}"
