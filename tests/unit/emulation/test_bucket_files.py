"""What a mount asks its bucket: once for what many want to know, and never for what a listing showed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast

from botocore.exceptions import ClientError

from trimtab.emulation.modal.bucket_files import BucketFiles


class CountingS3:
    """A bucket's keys, and how often it was asked for each."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.listed: list[str] = []
        self.looked_at: list[str] = []

    def get_paginator(self, _: str) -> CountingS3:
        return self

    def paginate(self, *, Prefix: str, **_: Any) -> Iterator[dict[str, Any]]:  # noqa: N803 - S3's own spelling
        self.listed.append(Prefix)
        time.sleep(0.01)
        below = [key[len(Prefix) :] for key in self.keys if key.startswith(Prefix)]
        folders = sorted({name.partition("/")[0] for name in below if "/" in name})
        files = [name for name in below if "/" not in name]
        yield {
            "CommonPrefixes": [{"Prefix": f"{Prefix}{name}/"} for name in folders],
            "Contents": [
                {"Key": Prefix + name, "Size": 3, "ETag": "e", "LastModified": datetime.now(UTC)} for name in files
            ],
        }

    def head_object(self, *, Key: str, **_: Any) -> None:  # noqa: N803 - S3's own spelling
        self.looked_at.append(Key)
        raise ClientError({"Error": {"Code": "404"}}, "HeadObject")


def mounted(bucket: CountingS3) -> BucketFiles:
    system = BucketFiles(lambda: cast("Any", bucket), bucket="tides", prefix="data/")
    system.stale_s = 3600
    system.list("")
    system.list("train")
    bucket.listed.clear()
    bucket.looked_at.clear()
    return system


def test_of_many_who_look_into_a_folder_at_once_one_lists_it() -> None:
    bucket = CountingS3("data/train/0.png")
    system, together = mounted(bucket), threading.Barrier(8)
    bucket.keys += [f"data/train/{number}.png" for number in range(1, 9)]

    def look(number: int) -> int:
        together.wait(10)
        return system.look_up(f"train/{number}.png").size_bytes

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(1, 9))) == [3] * 8
    assert (bucket.listed, bucket.looked_at) == (["data/train/"], [])


def test_a_folder_that_a_listing_showed_is_not_asked_for_again() -> None:
    bucket = CountingS3("data/train/0.png", "data/val/0.png")
    system = mounted(bucket)
    assert all(system.look_up(path).is_dir for path in ("train", "val"))
    assert (bucket.listed, bucket.looked_at) == ([], [])
