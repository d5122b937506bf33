"""Data sets pushed to and materialised from a real S3 server (moto's) on loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.caches import materialise
from trimtab.storage.datasets import push, read_manifest
from trimtab.storage.folders import MANIFEST
from trimtab.storage.manifests import digest
from trimtab.storage.objects import Place, Progress
from trimtab.storage.transfer import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

PREFIX = "datasets/pictures/"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def client_of(endpoint: str, key: str = "operator", secret: str = "secret") -> S3Client:  # noqa: S107  # moto takes any
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    return client


@pytest.fixture
def client(endpoint: str) -> S3Client:
    return client_of(endpoint)


@pytest.fixture
def place(client: S3Client) -> Place:
    bucket = f"bucket-{uuid.uuid4()}"
    client.create_bucket(Bucket=bucket)
    return Place(bucket=bucket, prefix=PREFIX, role="the role of job classifier")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "pictures"
    for number in range(30):
        path = directory / ("train" if number % 3 else "val") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {number}".encode() * 100)
    (directory / "a ü+%23?&.txt").write_bytes(b"a name that needs care in an address")
    (directory / "empty").write_bytes(b"")
    return directory


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_what_is_pushed_comes_back_byte_for_byte(client: S3Client, place: Place, folder: Path, tmp_path: Path) -> None:
    pushed = push(client, folder, place)
    assert (pushed.files, pushed.sent_files, pushed.unlisted) == (32, 32, ())
    there = materialise(client, place, tmp_path / "cache")
    assert files_of(there.path) == files_of(folder)
    assert (there.sha256, there.files, there.fetched_files) == (pushed.sha256, 32, 32)
    assert there.size_bytes == there.fetched_bytes == pushed.sent_bytes


def test_the_second_push_sends_nothing_and_the_second_call_fetches_nothing(
    client: S3Client, place: Place, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    first = materialise(client, place, tmp_path / "cache")
    manifest = client.head_object(Bucket=place.bucket, Key=PREFIX + MANIFEST)
    again = push(client, folder, place)
    assert (again.sent_files, again.sent_bytes) == (0, 0)
    assert client.head_object(Bucket=place.bucket, Key=PREFIX + MANIFEST)["LastModified"] == manifest["LastModified"]
    second = materialise(client, place, tmp_path / "cache")
    assert (second.path, second.fetched_files) == (first.path, 0)


def test_a_changed_file_alone_is_sent_and_alone_is_fetched(
    client: S3Client, place: Place, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    before = materialise(client, place, tmp_path / "cache")
    (folder / "val" / "0.png").write_bytes(b"PICTURE 0" * 100)  # of the same size
    (folder / "val" / "3.png").unlink()
    pushed = push(client, folder, place)
    assert (pushed.files, pushed.sent_files, pushed.unlisted) == (31, 1, ("val/3.png",))
    after = materialise(client, place, tmp_path / "cache")
    assert files_of(after.path) == files_of(folder)
    assert after.fetched_files == 1
    assert (before.path / "val" / "3.png").read_bytes() == b"picture 3" * 100  # the version before stays as it was


def test_an_interrupted_push_goes_on_and_is_not_a_data_set_before(
    client: S3Client, place: Place, folder: Path, tmp_path: Path
) -> None:
    class Enough(Exception):  # noqa: N818  # not an error of the push: ours, to stop it
        pass

    def stop_half_way(progress: Progress) -> None:
        if progress.files_done == 15:
            raise Enough

    with pytest.raises(Enough):
        push(client, folder, place, progress=stop_half_way)
    assert read_manifest(client, place) is None
    with pytest.raises(UsageError, match="no complete data set"):
        materialise(client, place, tmp_path / "cache")
    rest = push(client, folder, place)
    assert 0 < rest.sent_files <= 17
    assert files_of(materialise(client, place, tmp_path / "cache").path) == files_of(folder)


def test_an_object_that_was_overwritten_is_noticed_by_the_reader_and_mended_by_the_next_push(
    client: S3Client, place: Place, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    time.sleep(1.1)  # S3 tells times in seconds
    client.put_object(Bucket=place.bucket, Key=f"{PREFIX}val/0.png", Body=b"PICTURE 0" * 100)
    with pytest.raises(ProgramError, match=r"val/0\.png is not what the manifest says"):
        materialise(client, place, tmp_path / "cache")
    assert not (tmp_path / "cache" / digest(read_manifest(client, place).files)).exists()  # type: ignore[union-attr]
    assert push(client, folder, place).sent_files == 1
    assert files_of(materialise(client, place, tmp_path / "cache").path) == files_of(folder)


def test_a_large_file_travels_in_parts(client: S3Client, place: Place, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    content = os.urandom(9 * 1024**2)
    (tmp_path / "large" / "a.bin").write_bytes(content)
    assert push(client, tmp_path / "large", place).sent_files == 1
    there = materialise(client, place, tmp_path / "cache")
    assert (there.path / "a.bin").read_bytes() == content
    assert push(client, tmp_path / "large", place).sent_files == 0


def test_the_data_set_is_read_only_like_the_mount(client: S3Client, place: Place, folder: Path, tmp_path: Path) -> None:
    push(client, folder, place)
    there = materialise(client, place, tmp_path / "cache")
    for path in (there.path, *there.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o555 if path.is_dir() else 0o444)


@pytest.mark.parametrize("damage", ["changed", "shortened", "removed", "touched"])
def test_a_damaged_file_of_the_cache_is_fetched_again_and_no_other(
    client: S3Client, place: Place, folder: Path, tmp_path: Path, damage: str
) -> None:
    push(client, folder, place)
    there = materialise(client, place, tmp_path / "cache")
    path = there.path / "val" / "0.png"
    path.parent.chmod(0o755)
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes({"changed": b"X" + content[1:], "shortened": content[:-1], "touched": content}[damage])
    again = materialise(client, place, tmp_path / "cache")
    assert again.fetched_files == (0 if damage == "touched" else 1)
    assert files_of(again.path) == files_of(folder)
    assert materialise(client, place, tmp_path / "cache").fetched_files == 0


def test_a_damaged_index_costs_time_and_no_transfer(
    client: S3Client, place: Place, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    there = materialise(client, place, tmp_path / "cache")
    for content in (b"", b"{", b"[]", b'{"val/0.png": 1}'):
        (tmp_path / "cache" / f"{there.sha256}.json").write_bytes(content)
        assert materialise(client, place, tmp_path / "cache").fetched_files == 0


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_we_did_not_make_is_named_and_never_removed(
    client: S3Client, place: Place, folder: Path, tmp_path: Path, kind: str
) -> None:
    push(client, folder, place)
    there = materialise(client, place, tmp_path / "cache")
    (there.path / "val").chmod(0o755)
    stranger = there.path / "val" / "mine.txt"
    stranger.write_text("mine") if kind == "file" else stranger.symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match=r"mine\.txt does not belong") as caught:
        materialise(client, place, tmp_path / "cache")
    assert "neither read nor remove" in caught.value.why
    assert stranger.is_symlink() or stranger.read_text() == "mine"


def test_a_directory_that_is_no_cache_is_refused_untouched(
    client: S3Client, place: Place, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    before = files_of(folder)
    with pytest.raises(UsageError, match="not a cache"):
        materialise(client, place, folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "CACHE.json").write_text('{"format": "someone-else/1"}')
    with pytest.raises(UsageError, match="another program's"):
        materialise(client, place, tmp_path / "other")
    assert files_of(folder) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"[" * 100_000,
        b'{"format": "trimtab-dataset/9", "files": []}',
        b'{"format": "trimtab-dataset/1", "sha256": "0", "files": []}',
        b'{"format": "trimtab-dataset/1", "sha256": "%s", "files": []}' % digest(()).encode(),
        json.dumps(
            {
                "format": "trimtab-dataset/1",
                "sha256": "0" * 64,
                "files": [{"path": "../../etc/cron.d/x", "size_bytes": 1, "sha256": "0" * 64}],
            }
        ).encode(),
    ],
)
def test_a_manifest_that_is_not_to_be_trusted_is_refused_before_anything_is_written(
    client: S3Client, place: Place, tmp_path: Path, content: bytes
) -> None:
    client.put_object(Bucket=place.bucket, Key=PREFIX + MANIFEST, Body=content)
    with pytest.raises(UsageError, match="not a manifest to be trusted"):
        materialise(client, place, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["back\\slash", "new\nline", "MANIFEST.json"])
def test_a_file_whose_name_is_no_key_for_everyone_is_refused_before_anything_is_sent(
    client: S3Client, place: Place, folder: Path, name: str
) -> None:
    (folder / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="cannot be a data set"):
        push(client, folder, place)
    assert "Contents" not in client.list_objects_v2(Bucket=place.bucket)


def test_names_that_differ_only_in_case_are_refused(client: S3Client, place: Place, folder: Path) -> None:
    (folder / "val" / "0.PNG").write_bytes(b"x")
    with pytest.raises(UsageError, match="cannot be a data set") as caught:
        push(client, folder, place)
    assert "differ only in case" in caught.value.why


def test_links_are_refused_and_hidden_files_stay_here(client: S3Client, place: Place, folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(b"x")
    assert push(client, folder, place).files == 32
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="cannot be in a data set"):
        push(client, folder, place)


@pytest.mark.parametrize("wrong", ["missing", "empty", "file"])
def test_a_directory_that_is_no_data_set_is_named(client: S3Client, place: Place, tmp_path: Path, wrong: str) -> None:
    directory = tmp_path / wrong
    if wrong == "empty":
        directory.mkdir()
    if wrong == "file":
        directory.write_bytes(b"x")
    with pytest.raises(UsageError, match=wrong):
        push(client, directory, place)


@pytest.mark.parametrize("prefix", ["", "/", "datasets", "/datasets/"])
def test_a_prefix_that_is_none_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="not a prefix"):
        Place(bucket="bucket", prefix=prefix)


def test_a_missing_bucket_and_a_silent_endpoint_are_told_apart(client: S3Client, folder: Path, tmp_path: Path) -> None:
    place = Place(bucket="bucket-that-is-not", prefix=PREFIX)
    with pytest.raises(ProgramError) as caught:
        push(client, folder, place)
    assert "there is no bucket bucket-that-is-not" in caught.value.why
    with pytest.raises(ProgramError) as caught:
        materialise(client_of("http://127.0.0.1:9"), place, tmp_path / "cache")
    assert "check that its endpoint answers" in caught.value.remedy


@contextmanager
def rights_required(endpoint: str) -> Iterator[None]:
    """Have the server check each request's signature, and the rights of who signed it."""

    def after_calls(count: str) -> None:
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
        connection.request("POST", "/moto-api/reset-auth", count)
        assert connection.getresponse().status == 200
        connection.close()

    after_calls("0")
    try:
        yield
    finally:
        after_calls("inf")


def test_a_refusal_names_the_role_the_bucket_and_the_prefix(
    client: S3Client, place: Place, endpoint: str, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    rights = {"aws_access_key_id": "operator", "aws_secret_access_key": "secret"}
    iam: Any = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1", **rights)
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    stranger = client_of(endpoint, key["AccessKeyId"], key["SecretAccessKey"])

    with rights_required(endpoint):
        with pytest.raises(ProgramError) as reading:
            materialise(stranger, place, tmp_path / "cache")
        with pytest.raises(ProgramError) as writing:
            push(stranger, folder, place)
    for caught in (reading, writing):
        assert f"s3://{place.bucket}/{PREFIX} was refused" in caught.value.what
        assert re.search("the role of job classifier has no right to (Get|Put)Object", caught.value.why)
    assert not (tmp_path / "cache").exists()


def test_who_has_the_right_reads_and_a_wrong_signature_does_not(
    client: S3Client, place: Place, endpoint: str, folder: Path, tmp_path: Path
) -> None:
    push(client, folder, place)
    rights = {"aws_access_key_id": "operator", "aws_secret_access_key": "secret"}
    iam: Any = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1", **rights)
    name = f"reader-{uuid.uuid4()}"
    iam.create_user(UserName=name)
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{place.bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    reader, through_boto3 = client_of(endpoint, key["AccessKeyId"], key["SecretAccessKey"]), []
    reader.meta.events.register("before-send.s3.GetObject", lambda request, **_: through_boto3.append(request.url))
    with rights_required(endpoint):
        there = materialise(reader, place, tmp_path / "cache")
        with closing(ObjectReader(reader, place)) as objects, objects.open("val/0.png", start=2, stop=9) as chunks:
            assert b"".join(bytes(chunk) for chunk in chunks) == b"cture 0"
        forged = client_of(endpoint, key["AccessKeyId"], "x" * 40)
        with pytest.raises(ProgramError, match="failed"):
            materialise(forged, place, tmp_path / "other")
    assert files_of(there.path) == files_of(folder)
    assert [url.rpartition("/")[2] for url in through_boto3] == [MANIFEST]  # all others were signed by us, and right


def test_progress_is_told_for_every_file(client: S3Client, place: Place, folder: Path) -> None:
    told: list[Progress] = []
    pushed = push(client, folder, place, progress=told.append)
    assert [item.files_done for item in told] == list(range(1, 33))
    assert told[-1] == Progress(files_done=32, files=32, bytes_done=pushed.size_bytes, size_bytes=pushed.size_bytes)


CHILD = """
import boto3, sys
from pathlib import Path
from botocore.config import Config
from trimtab.storage.caches import materialise
from trimtab.storage.objects import Place
endpoint, bucket, prefix, cache = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a",
                      aws_secret_access_key="b", config=Config(s3={"addressing_style": "path"}))
tell = lambda progress: print(progress.files_done, flush=True)
print("path", materialise(client, Place(bucket=bucket, prefix=prefix), Path(cache), progress=tell).path, flush=True)
"""


def test_killed_while_it_fetches_it_goes_on_and_never_publishes_a_half(
    client: S3Client, place: Place, folder: Path, endpoint: str, tmp_path: Path, root: Path
) -> None:
    for number in range(170):
        (folder / f"{number}.bin").write_bytes(os.urandom(50_000))
    sha256 = push(client, folder, place).sha256
    cache = tmp_path / "cache"
    argv = [sys.executable, "-c", CHILD, endpoint, place.bucket, place.prefix, str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    kept = []
    for after_files in (1, 30, 60):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("path") or int(line) >= after_files:
                    break
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (cache / sha256).exists()
        kept.append(len(files_of(cache / f".partial-{sha256}")))
    there = materialise(client, place, cache)
    assert files_of(there.path) == files_of(folder)
    assert kept == sorted(kept)
    assert there.fetched_files <= 202 - kept[-1] + 10  # at most one half a connection
    assert sorted(path.name for path in cache.iterdir()) == sorted(["CACHE.json", sha256, f"{sha256}.json"])
