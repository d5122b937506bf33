"""`trimtab data` and VolumeManager as a person uses them: the embedded AWS and the embedded Modal are real servers."""

from __future__ import annotations

import os
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import ROOT, Ended, environment, trimtab
from tests.support.modal_plane import ModalPlane, modal_plane
from trimtab.catalogue import load_catalogue
from trimtab.emulation import aws
from trimtab.emulation.modal import control
from trimtab.storage.folders import MANIFEST, entries_of, files_below
from trimtab.storage.manifests import digest
from trimtab.storage.packed import open_files

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["modal_plane"]  # a fixture
pytestmark = pytest.mark.xdist_group("engine")
CATALOGUE = load_catalogue(ROOT / "trimtab.yaml")
JOB = next(iter(CATALOGUE.jobs))
PREFIX = CATALOGUE.jobs[JOB].data


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A person's desk: a state folder with an embedded AWS that is provisioned."""

    state: Path

    def data(self, *words: str | Path) -> Ended:
        return trimtab("data", *map(str, words), cwd=ROOT, env=environment(TRIMTAB_STATE=str(self.state)))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    state = tmp_path_factory.mktemp("state")
    up = trimtab("infra", "up", "--embedded", cwd=ROOT, env=environment(TRIMTAB_STATE=str(state)))
    assert up.code == 0, up.err
    yield Desk(state=state)
    aws.stop(state / "aws")
    control.stop(state / "modal")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        path = tmp_path / "data" / ("train" if number % 3 else "val") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {number} ".encode() * 500)
    (tmp_path / "data" / "large.bin").write_bytes(os.urandom(9_000_000))
    return tmp_path / "data"


def digest_of(folder: Path) -> str:
    return digest(entries_of(files_below(folder)))


def test_what_is_pushed_is_listed_verified_and_pulled(desk: Desk, folder: Path) -> None:
    where = ("--embedded", "--job", JOB, "--json")
    first = desk.data("push", folder, "--to", "bucket", *where).document
    assert (first["files"], first["sent_files"], first["sha256"]) == (13, 13, digest_of(folder))
    assert desk.data("push", folder, "--to", "bucket", *where).document["sent_files"] == 0
    (listed,) = desk.data("ls", *where, "--files").document["data"]
    assert (listed["files"], listed["sha256"], len(listed["entries"])) == (13, first["sha256"], 13)
    assert desk.data("verify", *where).document["problems"] == []
    pulled = desk.data("pull", *where).document
    assert digest_of(Path(pulled["path"])) == first["sha256"]
    again = desk.data("pull", "--embedded", "--job", JOB)
    assert (again.code, again.out.strip()) == (0, pulled["path"])
    assert "fetched 0 of 13 files" in again.err


def test_everything_that_is_wrong_in_the_bucket_is_named_with_exit_code_5(desk: Desk, folder: Path) -> None:
    where = ("--embedded", "--job", JOB, "--json")
    assert desk.data("push", folder, "--to", "bucket", *where).code == 0
    running = aws.status(desk.state / "aws")
    assert running is not None
    client, bucket = running.operator_client("s3", region=CATALOGUE.aws.region), CATALOGUE.bucket_name("dev")
    time.sleep(1.1)  # S3 tells times in seconds
    flipped = bytearray((folder / "train/01.png").read_bytes())
    flipped[100] ^= 1
    client.put_object(Bucket=bucket, Key=f"{PREFIX}train/01.png", Body=bytes(flipped))
    client.put_object(Bucket=bucket, Key=f"{PREFIX}train/02.png", Body=(folder / "train/02.png").read_bytes()[:-1])
    client.delete_object(Bucket=bucket, Key=f"{PREFIX}val/00.png")
    client.put_object(Bucket=bucket, Key=f"{PREFIX}stranger", Body=b"x")
    ended = desk.data("verify", *where)
    size = len(flipped)
    assert ended.code == 5
    assert ended.document["problems"] == [
        "train/01.png has another checksum",
        f"train/02.png has {size - 1} bytes, not {size}",
        "val/00.png is missing",
    ]
    assert ended.document["unlisted"] == ["stranger"]
    assert len(desk.data("verify", *where, "--quick").document["problems"]) == 2
    mended = desk.data("push", folder, "--to", "bucket", *where).document
    assert (mended["sent_files"], mended["unlisted"]) == (3, ["stranger"])
    assert desk.data("verify", *where).code == 0
    client.delete_object(Bucket=bucket, Key=f"{PREFIX}{MANIFEST}")
    assert desk.data("verify", *where).code == 2


def test_a_volume_is_sent_once_and_then_only_what_changed_and_damage_is_named(desk: Desk, folder: Path) -> None:
    where = ("--embedded", "--job", JOB, "--json")
    assert desk.data("verify", "--in", "volume", *where).code == 2
    first = desk.data("push", folder, "--to", "volume", *where).document
    assert (first["files"], first["shards"], first["sent_shards"]) == (13, 2, 2)
    assert desk.data("push", folder, "--to", "volume", *where).document["sent_shards"] == 0
    (folder / "train/01.png").write_bytes(b"another picture")
    third = desk.data("push", folder, "--to", "volume", *where).document
    assert (third["sent_shards"], len(third["unlisted"])) == (1, 1)
    (listed,) = desk.data("ls", "--in", "volume", *where).document["data"]
    assert (listed["files"], listed["sha256"]) == (13, digest_of(folder))
    assert desk.data("verify", "--in", "volume", *where).document["problems"] == []
    (root,) = (path.parent for path in (desk.state / "modal" / "volumes").glob("*/head/**/SHARDS.json"))
    assert open_files(root).read("train/01.png") == b"another picture"
    (tar,) = (path for path in (root / "shards").glob("*.tar") if path.name not in third["unlisted"])
    content = bytearray(tar.read_bytes())
    content[content.index(b"another picture")] ^= 1
    tar.write_bytes(content)
    next((root / "shards").glob("*.bin")).unlink()
    ended = desk.data("verify", "--in", "volume", *where)
    assert ended.code == 5
    assert [said.split(" (")[0] for said in ended.document["problems"]] == [
        "large.bin is missing",
        "train/01.png has another checksum",
    ]
    assert f"push DIR --to volume --job {JOB} --check" in ended.err
    assert desk.data("push", folder, "--to", "volume", *where).document["sent_shards"] == 1  # its size was wrong
    assert desk.data("push", folder, "--to", "volume", *where, "--check").document["sent_shards"] == 1
    assert desk.data("verify", "--in", "volume", *where).code == 0


@pytest.mark.parametrize("where", ["bucket", "volume"])
def test_of_two_pushes_at_once_what_is_published_is_one_of_them_whole_and_the_other_is_told(
    desk: Desk, folder: Path, tmp_path: Path, where: str
) -> None:
    folders = [folder, tmp_path / "other"]
    for path in sorted(folder.rglob("*.png")):  # the same names and sizes, other contents
        other = folders[1] / path.relative_to(folder)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes().upper())
    words = ("--embedded", "--job", JOB, "--json")
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda path: desk.data("push", path, "--to", where, *words), folders))
    assert {one.code for one in ended} <= {0, 2, 5}, [one.err for one in ended]
    verified = desk.data("verify", "--in", where, *words)
    assert verified.code == 0, verified.err
    done = [digest_of(path) for path, one in zip(folders, ended, strict=True) if one.code == 0]
    assert verified.document["sha256"] in done
    for refused in (one for one in ended if one.code):
        assert "another push" in refused.err
        assert "next: " in refused.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("push", "DIR", "--to", "bucket", "--embedded"), 2, "name one: --job JOB"),
        (("push", "DIR", "--to", "bucket", "--embedded", "--job", JOB[:-1]), 2, f"did you mean '{JOB}'?"),
        (("push", "/nowhere", "--to", "bucket", "--embedded", "--job", JOB), 2, "there is no such directory"),
        (("push", "/nowhere", "--to", "volume", "--embedded", "--job", JOB), 2, "there is no such directory"),
        (("push", "DIR", "--to", "attic", "--job", JOB), 2, "attic"),
        (("push", "DIR", "--to", "volume", "--job", JOB), 2, "Modal does not know who asks"),
        (("verify", "--job", JOB), 4, "nobody is signed in to AWS here"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    desk: Desk, folder: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    nobody = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "TRIMTAB_STATE": str(desk.state)}
    words = tuple(str(folder) if word == "DIR" else word for word in words)
    ended = trimtab("data", *words, cwd=ROOT, env=environment(**nobody))
    assert (ended.code, said in ended.err) == (code, True), ended.err


def test_the_help_of_each_verb_has_examples(desk: Desk) -> None:
    for words in ((), ("push",), ("ls",), ("verify",), ("pull",)):
        assert "Examples:" in desk.data(*words, "--help").out


def test_the_library_uploads_lists_verifies_and_its_volume_is_read_in_a_container(
    modal_plane: ModalPlane, folder: Path, tmp_path: Path
) -> None:
    paths = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]"
    asked: dict[str, Any] = modal_plane.python(f"""
{paths}
import dataclasses, pathlib
from deploy.modal.volumes import VolumeManager
manager = VolumeManager("gulls")
told = []
folder = pathlib.Path({str(folder)!r})
first = manager.upload_dataset(folder, "sea/gulls", progress=lambda done: told.append(done.files_done))
manager.volume.remove_file("sea/gulls/SHARDS.json")  # as if it had been killed before its last step
assert not manager.holds("sea/gulls")
again = manager.upload_dataset(folder, "sea/gulls/")
answer = {{
    "first": dataclasses.asdict(first), "again": dataclasses.asdict(again), "told": told,
    "files": [entry.path for entry in manager.list_files("sea/gulls")],
    "problems": manager.verify("sea/gulls").problems,
}}
""")
    assert (asked["first"]["sent_shards"], asked["again"]["sent_shards"], asked["told"]) == (2, 0, [2])
    assert asked["files"] == [entry.path for entry in entries_of(files_below(folder))]
    assert asked["problems"] == []
    app = tmp_path / "app.py"
    app.write_text(
        textwrap.dedent(f"""
        import json
        import modal
        app = modal.App("gulls")
        if modal.is_local():
            {paths}
            from deploy.modal.volumes import VolumeManager
            volume = VolumeManager("gulls").volume
        else:
            volume = modal.Volume.from_name("gulls")
        image = modal.Image.debian_slim(python_version="3.11").add_local_python_source("trimtab")

        @app.function(image=image, volumes={{"/data": volume}})
        def look():
            import hashlib, pathlib
            from trimtab.storage.packed import open_files
            files = open_files(pathlib.Path("/data/sea/gulls"))
            return {{path: hashlib.sha256(files.read(path)).hexdigest() for path in files.paths()}}

        @app.local_entrypoint()
        def main():
            print("seen:", json.dumps(look.remote()))
        """)
    )
    said = modal_plane.cli("run", app)
    seen = next(line for line in said.splitlines() if "seen:" in line)
    for entry in entries_of(files_below(folder)):
        assert f'"{entry.path}": "{entry.sha256}"' in seen
