"""What the tests of pushes kill: a whole push, saying each file or shard that is there. `killing` runs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.modal.volumes import VolumeManager
from tests.support.object_server import BUCKET, client_of
from trimtab.storage.datasets import push
from trimtab.storage.leases import Lease
from trimtab.storage.objects import Place

if TYPE_CHECKING:
    from trimtab.storage.objects import Progress


def to_bucket(endpoint: str, prefix: str, directory: str) -> None:
    """Push to a bucket; say how many files were to be sent."""
    _say("begins")
    pushed = push(client_of(endpoint), Path(directory), Place(bucket=BUCKET, prefix=prefix), progress=_told)
    _say(f"sent {pushed.sent_files}")


def to_volume(name: str, dataset: str, directory: str) -> None:
    """Push to a Volume, shard by shard, so that there is something to kill between; say how many were to be sent."""
    _say("begins")
    sent = VolumeManager(name, at_once_bytes=1).upload_dataset(Path(directory), dataset, progress=_told)
    _say(f"sent {sent.sent_shards}")


def hold(endpoint: str, prefix: str) -> None:
    """Hold a place until killed."""
    with Lease(client=client_of(endpoint), place=Place(bucket=BUCKET, prefix=prefix)):
        _say("held")
        while True:
            os.read(0, 1)


def _told(done: Progress) -> None:
    _say(str(done.files_done))


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())
