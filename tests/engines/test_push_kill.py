"""Pushes to a bucket and to a Volume of the embedded Modal under kill -9 at random moments. Real processes.

The full form: TRIMTAB_CACHE_KILLS=50 TRIMTAB_CACHE_FILES=4000 (the latter for the bucket); what that gave is in
docs/data.md.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.killing import Nursery, nursery
from tests.support.modal_plane import ModalPlane, modal_plane
from tests.support.object_server import BUCKET, client_of, object_server
from trimtab.errors import ProgramError
from trimtab.storage.caches import materialise
from trimtab.storage.datasets import push, read_manifest
from trimtab.storage.folders import MANIFEST, entries_of, files_below
from trimtab.storage.manifests import digest
from trimtab.storage.objects import Place
from trimtab.storage.packed import open_files
from trimtab.storage.shards import FOLDER, INDEX, LARGE_BYTES, plan_shards
from trimtab.storage.verification import verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

__all__ = ["modal_plane"]  # a fixture
ASKED = os.environ.get("TRIMTAB_CACHE_KILLS")
KILLS, KILLS_ON_A_VOLUME = int(ASKED or 6), int(ASKED or 4)
FILES = int(os.environ.get("TRIMTAB_CACHE_FILES", "200"))
PLACE = Place(bucket=BUCKET, prefix="datasets/pictures/")
LARGE = 6  # files that are a shard each
pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(3600 if ASKED else 300)]


def chance(seed: int) -> random.Random:
    """Return what looks random and is the same in every run."""
    return random.Random(seed)  # noqa: S311 - nothing here is secret


def write(directory: Path, contents: Mapping[str, bytes]) -> str:
    """Write files, and return the digest of all that is there then."""
    for path, content in contents.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return digest(entries_of(files_below(directory)))


def version_read(client: S3Client, cache: Path) -> str | None:
    """Return which version a reader gets, every file verified, or None where it is told that there is none."""
    try:
        return materialise(client, PLACE, cache).sha256
    except ProgramError as error:  # some of the files that the old manifest names are replaced by now
        if "not what the manifest says" not in error.what:
            raise
        return None


def sent(output: Path) -> int:
    """Return how many the last push said that it had to send."""
    return int(output.read_text().splitlines()[-1].removeprefix("sent "))


def killed(
    children: Nursery, call: str, words: Sequence[str], output: Path, *, after_steps: int, then_s: float
) -> bool:
    """Kill a push after some of its steps; tell whether it was still at it."""
    code = children.kill(call, *words, output=output, after_lines=1 + after_steps, then_s=then_s)
    assert code in (-9, 0), output.read_text()[-2000:]
    return code != 0


def test_no_kill_leaves_half_a_data_set_that_reads_as_a_whole_one_in_a_bucket_and_what_arrived_is_not_sent_again(
    tmp_path: Path, root: Path
) -> None:
    directory, output, draw = tmp_path / "data", tmp_path / "said", chance(11)
    before = {f"{number % 7}/{number:05d}.bin": draw.randbytes(draw.randrange(9_000)) for number in range(FILES)}
    after = {path: draw.randbytes(len(content)) for path, content in list(before.items())[::2]}  # of the same sizes
    with object_server() as server, nursery(root, "tests.engines.push_child") as children:
        client, call = client_of(server.endpoint), "tests.engines.push_child:to_bucket"
        words = (server.endpoint, PLACE.prefix, str(directory))
        versions = {write(directory, before)}
        push(client, directory, PLACE)
        new = write(directory, after)
        versions.add(new)
        puts, interrupted, refused = server.asked["put"], 0, 0
        for number in range(KILLS):
            after_steps = draw.randrange(len(after) // KILLS)
            interrupted += killed(children, call, words, output, after_steps=after_steps, then_s=draw.uniform(0, 0.02))
            read = version_read(client, tmp_path / f"cache{number}")
            assert read in {*versions, None}
            refused += read is None
        assert children.run(call, *words, output=output) == 0, output.read_text()[-2000:]
        assert sent(output) < len(after)
        found = read_manifest(client, PLACE)
        assert found is not None
        assert found.sha256 == new
        assert verify(client, PLACE).problems == ()
        # A kill costs what was under way: an object for each connection, and the lease; then lease and manifest.
        assert server.asked["put"] - puts <= len(after) + KILLS * 11 + 2
        assert set(server.objects) == {PLACE.prefix + path for path in (*before, MANIFEST)}
        assert interrupted >= KILLS // 2
        assert refused > 0


@pytest.mark.parametrize("call", ["push_child:to_bucket", "cache_child:fetch"])
def test_an_interrupt_waits_for_no_server_that_is_silent(tmp_path: Path, root: Path, call: str) -> None:
    module, _, function = call.partition(":")
    program = f"import sys; from tests.engines.{module} import {function} as f; f(*sys.argv[1:])"
    with object_server() as server:
        contents = {f"{number:05d}.bin": b"%d" % number for number in range(400)}
        write(tmp_path / "data", contents)
        if function == "fetch":
            push(client_of(server.endpoint), tmp_path / "data", PLACE)
        where = tmp_path / ("cache" if function == "fetch" else "data")
        argv = (sys.executable, "-c", program, server.endpoint, PLACE.prefix, str(where))
        with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert [process.stdout.readline().strip().isdigit() for _ in range(3)] == [False, True, True]
            server.answers.clear()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)  # a request would wait for a minute, and more than once
    assert process.returncode == -signal.SIGINT
    assert "Exception ignored" not in said


def test_no_kill_leaves_half_a_data_set_on_a_volume_and_what_arrived_is_not_sent_again(
    modal_plane: ModalPlane, tmp_path: Path, root: Path
) -> None:
    directory, output, draw = tmp_path / "data", tmp_path / "said", chance(12)
    call, words = "tests.engines.push_child:to_volume", ("gulls", "sea/gulls", str(directory))
    contents = {f"{number}.txt": draw.randbytes(2_000) for number in range(50)}
    ever: set[str] = set()
    interrupted = 0

    def another_version() -> dict[str, bytes]:
        changed = {**contents, **{f"large/{number}.bin": draw.randbytes(LARGE_BYTES) for number in range(LARGE)}}
        write(directory, changed)
        ever.update(shard.name for shard in plan_shards(entries_of(files_below(directory))))
        return changed

    with nursery(root, "tests.engines.push_child", **modal_plane.environment()) as children:
        contents = another_version()
        assert children.run(call, *words, output=output) == 0, output.read_text()[-2000:]
        assert sent(output) == LARGE + 1
        (volume,) = (modal_plane.running.state_dir / "volumes").iterdir()
        folder = volume / "head" / "sea" / "gulls"
        coming = another_version()
        for _ in range(KILLS_ON_A_VOLUME):
            interrupted += killed(
                children, call, words, output, after_steps=draw.randrange(3), then_s=draw.uniform(0, 0.2)
            )
            files = open_files(folder)
            found = {path: files.read(path) for path in files.paths()}
            assert found in (contents, coming)  # what is published is whole at every moment
            if found == coming:
                contents, coming = coming, another_version()
        missing = {shard.name for shard in plan_shards(entries_of(files_below(directory)))} - there(folder)
        for at_most in (len(missing), 0):
            assert children.run(call, *words, output=output) == 0, output.read_text()[-2000:]
            assert sent(output) <= at_most
    files = open_files(folder)
    assert {path: files.read(path) for path in files.paths()} == coming
    assert there(folder) <= ever
    assert {path.name for path in folder.iterdir()} == {FOLDER, INDEX}
    assert interrupted >= KILLS_ON_A_VOLUME // 2
    problems = modal_plane.python(f"""
import sys; sys.path[:0] = [{str(root)!r}, {str(root / "src")!r}]
from deploy.modal.volumes import VolumeManager
answer = VolumeManager("gulls").verify("sea/gulls").problems
""")
    assert problems == []


def there(folder: Path) -> set[str]:
    """Return the names of the shards that are on the Volume."""
    return {path.name for path in (folder / FOLDER).iterdir()}
