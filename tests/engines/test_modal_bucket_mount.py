"""The bucket mount, on the embedded AWS with IAM enforced, through the kernel: what a function sees of a bucket."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.harbour import BUCKET, DATA, RESULTS, Harbour, harbour
from trimtab.emulation.modal import bucket_mount
from trimtab.emulation.modal.attempt import BucketMount
from trimtab.emulation.modal.bucket_mount import mount_bucket, unmount_bucket

pytestmark = pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing()))

Mounter = Callable[..., Path]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with harbour(tmp_path_factory.mktemp("aws")) as running:
        for number in range(12):
            running.put(f"{DATA}train/{number:02d}.txt", b"tide %d" % number)
        running.put("models/weights.onnx", b"of a service")
        running.put(f"{DATA}readme.md", b"tides of the harbour")
        running.put(f"{DATA}big.bin", bytes(range(256)) * 40_000)
        running.put(f"{RESULTS}old.txt", b"older")
        yield running


@pytest.fixture
def mounted(stack: Harbour, tmp_path: Path) -> Iterator[Mounter]:
    with ExitStack() as mounts:

        def mount(prefix: str = DATA, *, read_only: bool = True, app: str = "harbour") -> Path:
            target = tmp_path / f"mount-{len(list(tmp_path.iterdir()))}"
            spec = BucketMount(
                path="/data", bucket=BUCKET, endpoint_url=None, prefix=prefix, role_arn=stack.role_arn,
                read_only=read_only,
            )  # fmt: skip
            mount_bucket(spec, target, identity_token=stack.token(app=app), aws_state_dir=stack.aws.state_dir)
            mounts.callback(unmount_bucket, target)
            return target

        yield mount


def error_of(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        call()
    return caught.value.errno


def test_what_lies_under_the_prefix_is_there_as_files_and_folders(mounted: Mounter) -> None:
    data = mounted()
    assert sorted(path.name for path in data.iterdir()) == ["big.bin", "readme.md", "train"]
    assert (data / "readme.md").read_bytes() == b"tides of the harbour"
    assert [path.read_text() for path in sorted((data / "train").iterdir())] == [f"tide {n}" for n in range(12)]
    assert (data / "train").is_dir()
    assert (data / "readme.md").stat().st_size == 20


def test_a_large_object_is_read_from_any_place(mounted: Mounter) -> None:
    whole = bytes(range(256)) * 40_000
    with (mounted() / "big.bin").open("rb") as stream:
        assert stream.read() == whole
        stream.seek(9_000_001)
        assert stream.read(5) == whole[9_000_001:9_000_006]
        stream.seek(3)
        assert stream.read(5) == whole[3:8]


def test_what_is_not_there_is_not_found(mounted: Mounter) -> None:
    assert error_of((mounted() / "nothing").read_bytes) == errno.ENOENT


def test_a_read_only_mount_cannot_be_written(mounted: Mounter) -> None:
    data = mounted()
    assert error_of(lambda: (data / "new").write_bytes(b"x")) == errno.EROFS
    assert error_of((data / "readme.md").unlink) == errno.EROFS


def test_a_role_that_may_not_read_the_prefix_is_denied_inside_and_not_before(mounted: Mounter) -> None:
    foreign = mounted("models/")
    assert error_of(lambda: list(foreign.iterdir())) == errno.EACCES
    assert error_of((foreign / "weights.onnx").read_bytes) == errno.EACCES


def test_a_role_that_does_not_trust_the_app_is_denied_inside_and_not_before(mounted: Mounter) -> None:
    data = mounted(app="pirates")
    assert error_of(lambda: list(data.iterdir())) == errno.EACCES
    assert error_of((data / "readme.md").read_bytes) == errno.EACCES


def test_what_is_written_is_an_object_once_it_is_closed(mounted: Mounter, stack: Harbour) -> None:
    results = mounted(RESULTS, read_only=False)
    (results / "run").mkdir()
    with (results / "run" / "log.txt").open("wb") as stream:
        stream.write(b"first ")
        stream.flush()
        assert error_of((results / "run" / "log.txt").read_bytes) == errno.EPERM
        stream.write(b"second")
    assert stack.content(f"{RESULTS}run/log.txt") == b"first second"
    assert (results / "run" / "log.txt").read_bytes() == b"first second"


def test_an_object_can_be_replaced_and_removed_and_neither_appended_nor_changed_nor_renamed(
    mounted: Mounter, stack: Harbour
) -> None:
    results = mounted(RESULTS, read_only=False)
    old = results / "old.txt"
    assert error_of(lambda: old.open("ab")) == errno.EPERM
    assert error_of(lambda: old.open("r+b")) == errno.EPERM
    assert error_of(lambda: old.rename(results / "new.txt")) == errno.ENOSYS
    assert error_of(lambda: old.chmod(0o600)) == errno.EPERM
    assert stack.content(f"{RESULTS}old.txt") == b"older"
    old.write_bytes(b"newer")
    assert stack.content(f"{RESULTS}old.txt") == b"newer"
    old.unlink()
    assert error_of(old.read_bytes) == errno.ENOENT
    assert stack.absent(f"{RESULTS}old.txt")


def test_writing_anywhere_but_at_the_end_is_refused(mounted: Mounter) -> None:
    with (mounted(RESULTS, read_only=False) / "seeks.bin").open("wb", buffering=0) as stream:
        stream.write(b"12345678")
        stream.seek(2)
        assert error_of(lambda: stream.write(b"x")) == errno.EINVAL


def test_a_look_is_at_most_a_second_old(mounted: Mounter, stack: Harbour) -> None:
    data = mounted()
    (data / "readme.md").stat()
    stack.put(f"{DATA}readme.md", b"longer than it was before")
    time.sleep(2.1)  # once for the kernel, once for the program
    assert (data / "readme.md").stat().st_size == 25
    stack.put(f"{DATA}readme.md", b"tides of the harbour")


def test_its_program_ends_when_it_is_unmounted(mounted: Mounter) -> None:
    target = mounted()
    listed = ("pgrep", "-f", f"bucket_mount {target}")
    assert subprocess.run(listed, capture_output=True, check=False).returncode == 0
    unmount_bucket(target)
    deadline = time.monotonic() + 10
    while subprocess.run(listed, capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
