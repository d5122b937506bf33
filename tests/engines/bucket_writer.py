"""A writer of checkpoints on an embedded AWS, for the nursery: its client is made once, before the forks.

EMBEDDED_AWS names the server's state folder. Nothing is connected yet when a child takes the client over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.killing import POLICY, save_until_interrupted
from trimtab.emulation import aws
from trimtab.storage.checkpoints_bucket import BucketCheckpoints, open_bucket_store
from trimtab.storage.objects import Place
from trimtab.storage.prefixes_s3 import S3Prefix
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def _client() -> S3Client | None:
    running = aws.status(Path(os.environ.get("EMBEDDED_AWS", "/nowhere")))
    return running and running.operator_client("s3")


CLIENT = _client()


def bucket_store(client: S3Client, bucket: str, directory: str) -> BucketCheckpoints:
    """Return the store of a run."""
    prefix = S3Prefix(client, Place(bucket=bucket, prefix="results/"))
    return open_bucket_store(prefix, directory, run_id="killed", retention=Retention(**POLICY))


def save_for_ever(bucket: str, directory: str) -> int:
    """Save one checkpoint after another, from the newest on, until interrupted."""
    assert CLIENT is not None
    return save_until_interrupted(bucket_store(CLIENT, bucket, directory))
