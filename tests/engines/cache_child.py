"""What the cache's tests kill: a whole fetch, saying each file that is there. Run by `tests.engines.killing`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.object_server import BUCKET, client_of
from trimtab.storage.caches import materialise
from trimtab.storage.objects import Place


def fetch(endpoint: str, prefix: str, cache: str) -> None:
    """Bring a data set into the cache; say the number of files after each piece, and at last that it is published."""
    place = Place(bucket=BUCKET, prefix=prefix)
    os.write(1, b"begins\n")
    there = materialise(
        client_of(endpoint),
        place,
        Path(cache),
        progress=lambda done: os.write(1, f"{done.files_done}\n".encode()) and None,
    )
    os.write(1, f"published {there.sha256}\n".encode())
