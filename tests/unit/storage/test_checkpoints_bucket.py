"""A run's checkpoints where there is no rename, on a plain directory that stands in for a mounted bucket."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, BinaryIO

import pytest

from tests.support.fragile import CutOffError, Fragile
from trimtab.errors import BudgetError, ProgramError, UsageError
from trimtab.storage.checkpoint_manifests import marker_of
from trimtab.storage.checkpoints import open_store, published
from trimtab.storage.checkpoints_bucket import BucketCheckpoints, open_bucket_store
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trimtab.storage.prefixes import Prefix

KEEP_ALL = Retention(keep_last=99)
RUN = "checkpoints/tides/2026-03-01/r1"


def opened(bucket: Prefix, retention: Retention = KEEP_ALL) -> BucketCheckpoints:
    return open_bucket_store(bucket, RUN, run_id="r1", retention=retention)


@pytest.fixture
def bucket(tmp_path: Path) -> MountedPrefix:
    return MountedPrefix(tmp_path / "bucket")


def content(text: str) -> dict[str, Callable[[BinaryIO], object]]:
    return {"state": lambda stream: stream.write(text.encode() * 9), "more": lambda stream: stream.write(b"more")}


def steps(store: BucketCheckpoints) -> list[int]:
    return [item.step for item in store.checkpoints()]


def test_a_saved_checkpoint_is_found_with_its_files_and_metrics(bucket: MountedPrefix) -> None:
    store = opened(bucket)
    store.save(120, content("a"), metrics={"loss": 0.5, "broken": float("nan")})
    newest = opened(bucket).newest_complete()
    assert newest is not None
    assert (newest.step, newest.metrics, str(newest.path)) == (120, {"loss": 0.5}, "step-000000120")
    with store.open_file(newest, "state") as stream:
        assert stream.read() == b"a" * 9
    assert sorted(store.names()) == [
        "CHECKPOINTS.json",
        *(f"step-000000120/{name}" for name in ("MANIFEST.json", "more", "state")),
    ]


@pytest.mark.parametrize("name", ["state", "MANIFEST.json"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(bucket: MountedPrefix, name: str) -> None:
    store = opened(bucket)
    for step in (1, 2):
        store.save(step, content("a"))
    (bucket.directory / RUN / "step-000000002" / name).write_bytes(b"b" * 9)
    for _ in range(2):
        newest = store.newest_complete()
        assert newest is not None
        assert newest.step == 1
    assert f"step-000000002.broken/{name}" in store.names()
    store.save(2, content("again"))
    assert steps(store) == [1, 2]


def test_a_mount_that_cannot_be_listed_is_an_error_and_not_an_empty_bucket(bucket: MountedPrefix) -> None:
    opened(bucket).save(1, content("a"))
    bucket.put("file", io.BytesIO(b""), sha256=None)
    assert bucket.sizes("nowhere/") == {}
    with pytest.raises(ProgramError, match="file was not listed"):
        bucket.sizes("file/")


def test_a_step_is_written_once(bucket: MountedPrefix) -> None:
    opened(bucket).save(1, content("a"))
    with pytest.raises(UsageError, match="already there"):
        opened(bucket).save(1, content("b"))


def test_the_policy_removes_and_keeps_the_last_the_best_and_the_pinned(bucket: MountedPrefix) -> None:
    store = opened(bucket, Retention(keep_last=2, metric="loss", greater_is_better=False))
    for step, loss in ((1, 0.3), (2, 0.1), (3, 0.4), (4, 0.5), (5, 0.6), (6, 0.7)):
        checkpoint = store.save(step, content("a"), metrics={"loss": loss})
        if step == 3:
            store.pin(checkpoint)
    assert steps(store) == [2, 3, 5, 6]
    store.unpin(store.checkpoints()[1])
    store.save(7, content("a"))
    assert steps(store) == [2, 6, 7]


def test_a_temporary_folder_that_is_full_is_a_full_disk_and_leaves_nothing_in_the_bucket(bucket: MountedPrefix) -> None:
    def fill(_: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BudgetError, match="step-000000001 was not written"):
        opened(bucket).save(1, {"state": fill})
    assert list(opened(bucket).names()) == ["CHECKPOINTS.json"]


def test_another_run_s_prefix_and_one_of_something_else_are_refused_untouched(bucket: MountedPrefix) -> None:
    opened(bucket)
    with pytest.raises(UsageError, match="does not belong to the run r2"):
        open_bucket_store(bucket, RUN, run_id="r2", retention=KEEP_ALL)
    bucket.put("other/thesis.txt", io.BytesIO(b"years of work"), sha256=None)
    with pytest.raises(UsageError, match="thesis"):
        open_bucket_store(bucket, "other", run_id="r1", retention=KEEP_ALL)
    assert list(bucket.sizes("other/")) == ["other/thesis.txt"]


@pytest.mark.parametrize("size_bytes", [0, 9])
def test_a_mark_that_a_killed_writer_left_half_is_written_anew(bucket: MountedPrefix, size_bytes: int) -> None:
    half = marker_of("r1")[:size_bytes]
    bucket.put(f"{RUN}/CHECKPOINTS.json", io.BytesIO(half), sha256=None)
    opened(bucket).save(1, content("a"))
    assert steps(opened(bucket)) == [1]
    bucket.put(f"{RUN}/CHECKPOINTS.json", io.BytesIO(half), sha256=None)
    with pytest.raises(UsageError, match=r"no whole CHECKPOINTS\.json, but it has step-000000001"):
        opened(bucket)


def test_what_does_not_read_back_is_set_aside_and_nothing_is_removed(tmp_path: Path) -> None:
    class Forgetful(MountedPrefix):
        def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:
            super().put(name, io.BytesIO(b"bits") if "2/state" in name else content, sha256=sha256)

    store = opened(Forgetful(tmp_path / "bucket"), Retention(keep_last=1))
    store.save(1, content("a"))
    with pytest.raises(ProgramError, match="does not read back"):
        store.save(2, content("a"))
    assert steps(store) == [1]
    assert "step-000000002.broken/state" in store.names()


@pytest.mark.parametrize("changes", range(8))
def test_a_writer_that_dies_after_any_change_loses_nothing_and_the_next_save_tidies_up(
    tmp_path: Path, changes: int
) -> None:
    """A save of the third with a policy of two: three puts, the manifest's among them, then three removals."""
    whole = MountedPrefix(tmp_path / "bucket")
    policy = Retention(keep_last=2)
    for step in (1, 2):
        opened(whole, policy).save(step, content("a"))
    died = False
    try:
        opened(Fragile(whole, changes), policy).save(3, content("b"))
    except CutOffError:
        died = True
    assert died == (changes < 6)
    store = opened(whole, policy)
    assert all(store.damage(item) is None for item in store.checkpoints())
    assert {2} <= set(steps(store)) <= {1, 2, 3}
    newest = store.newest_complete()
    assert newest is not None
    assert newest.step == (2 if changes < 3 else 3)
    store.save(4, content("c"))
    assert steps(store) == [newest.step, 4]
    left = {name.partition("/")[0] for name in store.names()}
    half_a_manifest = {"step-000000003.broken"} if changes == 2 else set()  # a mount may leave one, S3 itself does not
    assert left == {"CHECKPOINTS.json", "step-000000004", f"step-{newest.step:09d}"} | half_a_manifest


def test_a_checkpoint_goes_to_a_bucket_and_back_to_the_byte_and_with_its_pin(
    tmp_path: Path, bucket: MountedPrefix
) -> None:
    with open_store(tmp_path / "one", run_id="r1", retention=KEEP_ALL) as one:
        one.save(5, content("a"), metrics={"loss": 0.5})
        (one.directory / "step-000000005" / "PINNED").touch()
        copy = opened(bucket)
        copy.take(one.checkpoints()[0], one, copy.tidied_names())
    with open_store(tmp_path / "two", run_id="r1", retention=KEEP_ALL) as two:
        two.take(opened(bucket).checkpoints()[0], opened(bucket))
    for name in ("MANIFEST.json", "state", "more", "PINNED"):
        path = f"step-000000005/{name}"
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    assert published(tmp_path / "two")[0].pinned
