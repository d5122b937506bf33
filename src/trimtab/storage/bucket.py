"""The data bucket, as the steps see it: a name, and clients with the rights of who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from trimtab.storage.datasets import Manifest
    from trimtab.storage.objects import Place


class BucketAccess(Protocol):
    """Hands out S3 clients for the bucket of one stack."""

    @property
    def name(self) -> str:
        """The bucket's name."""

    def operator(self) -> S3Client:
        """Return a client with the rights of the person who runs the command."""

    def operator_or_none(self) -> S3Client | None:
        """Return the operator's client, or None while the bucket's AWS does not run."""

    def of_job(self, job: str) -> S3Client:
        """Return a client with the job's role: its data read-only, its results read-write, nothing else."""


def manifest_or_none(client: S3Client, place: Place) -> Manifest | None:
    """Return the manifest of a data set, or None where there is none, nor a bucket to hold it."""
    from trimtab.errors import TrimtabError
    from trimtab.storage.datasets import read_manifest

    try:
        return read_manifest(client, place)
    except TrimtabError:
        return None
