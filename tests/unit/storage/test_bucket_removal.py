"""A checkpoint that is being removed from a bucket is none from the first moment on, whatever its files are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trimtab.storage.checkpoints_bucket import open_bucket_store
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RUN = "checkpoints/tides/2026-03-01/r1"


class CutOffError(Exception):
    """The writer dies here."""


class Dying:
    """A bucket that lists its names in order and dies after so many removals."""

    def __init__(self, bucket: MountedPrefix, removals: int) -> None:
        self.reading, self.put = bucket.reading, bucket.put
        self._bucket, self._left = bucket, removals

    def sizes(self, below: str) -> Mapping[str, int]:
        return dict(sorted(self._bucket.sizes(below).items()))

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            if self._left == 0:
                raise CutOffError
            self._left -= 1
            self._bucket.remove([name])


@pytest.mark.parametrize("removals", range(3))
def test_a_removal_that_is_cut_off_leaves_nothing_that_looks_whole(tmp_path: Path, removals: int) -> None:
    bucket, policy = MountedPrefix(tmp_path / "bucket"), Retention(keep_last=1)
    files = {name: lambda stream: stream.write(b"weights") for name in ("AVERAGED.pt", "state.pt")}
    open_bucket_store(bucket, RUN, run_id="r1", retention=policy).save(1, files)
    with pytest.raises(CutOffError):
        open_bucket_store(Dying(bucket, removals), RUN, run_id="r1", retention=policy).save(2, files)
    store = open_bucket_store(bucket, RUN, run_id="r1", retention=policy)
    assert [store.damage(item) for item in store.checkpoints()] == [None] * len(store.checkpoints())
    assert [item.step for item in store.checkpoints()] == ([1, 2] if removals == 0 else [2])
