"""Fetching models, whole: a stand-in for npm on PATH hands out a small package; what follows is the real thing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from services.model_zoo.convert import onnx_bytes
from services.model_zoo.errors import DisagreementError, DriftError
from services.model_zoo.fetch import fetch_models
from services.model_zoo.graph_model import read_graph_model
from services.model_zoo.package import npm_pack_argv, read_members
from services.serving.manifest import PackageSource, read_manifest
from tests.unit.services.test_graph_model import WEIGHTS, document

GRAPH = "package/models/sum.json"
BIN = "package/models/model.bin"


def tarball(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return a .tgz with these members, in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    """Return a symbolic link as a member."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    return member


PACKAGE = tarball({"package/package.json": b"{}", GRAPH: json.dumps(document()).encode(), BIN: WEIGHTS.tobytes()})
MODEL = onnx_bytes(read_graph_model(json.dumps(document()).encode(), {"model.bin": WEIGHTS.tobytes()}))


def integrity(content: bytes) -> str:
    """Return npm's form of a sha512."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def manifest_text(*, sha256: str | None = None, package: bytes = PACKAGE) -> str:
    """Return a manifest of the one model in the package."""
    return f"""
[packages.sums]
npm = "@example/sums@1.0.0"
integrity = "{integrity(package)}"
bytes = {len(package)}

[models.sum]
file = "sum.onnx"
key = "models/sum/1.onnx"
sha256 = "{sha256 or hashlib.sha256(MODEL).hexdigest()}"
bytes = {len(MODEL)}
task = "detect"
decoder = "nanodet"
min_score = 0.3
overlap = 0.6
labels = ["thing"]
licence = "MIT"
upstream = "https://example.com/sums"
input = {{ width = 8, height = 8, layout = "NCHW", dtype = "float32", colour = "RGB", resize = "stretch" }}
source = {{ package = "sums", graph = "{GRAPH}", weights = ["{BIN}"] }}
"""


class Desk:
    """A directory with a manifest, an npm that copies the given bytes, and the command under test."""

    def __init__(self, directory: Path) -> None:
        self.out = directory / "models"
        self.manifest = directory / "models.toml"
        self.manifest.write_text(manifest_text())
        self._bin = directory / "bin"
        self._bin.mkdir()
        self._calls = directory / "calls"

    def install_npm(self, package: bytes = PACKAGE, *, exit_code: int = 0) -> None:
        """Put a program named npm on the command's PATH."""
        source = self._bin / "sums-1.0.0.tgz"
        source.write_bytes(package)
        npm = self._bin / "npm"
        npm.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> {self._calls}\n'
            'while [ "$1" != --pack-destination ]; do shift; done\n'
            f"if [ {exit_code} != 0 ]; then echo 'npm error code ENOTFOUND' >&2; exit {exit_code}; fi\n"
            f'cp {source} "$2"/\n'
        )
        npm.chmod(npm.stat().st_mode | stat.S_IXUSR)

    def fetch(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the command; only our npm and the system's shell tools are on its PATH."""
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "services.model_zoo",
                "fetch",
                "--out",
                self.out,
                "--manifest",
                self.manifest,
                *more,
            ],
            env={**os.environ, "PATH": f"{self._bin}:/bin"}
            if (self._bin / "npm").exists()
            else {"PATH": str(self._bin)},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def npm_runs(self) -> int:
        """How often npm was started."""
        return len(self._calls.read_text().splitlines()) if self._calls.exists() else 0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a desk without npm."""
    return Desk(tmp_path)


def test_a_model_is_fetched_converted_and_checked(desk: Desk) -> None:
    desk.install_npm()
    finished = desk.fetch("--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["models"] == [
        {
            "name": "sum",
            "path": str(desk.out / "sum.onnx"),
            "key": "models/sum/1.onnx",
            "sha256": hashlib.sha256(MODEL).hexdigest(),
            "bytes": len(MODEL),
            "made": True,
        }
    ]
    assert (desk.out / "sum.onnx").read_bytes() == MODEL
    assert [path.name for path in desk.out.iterdir()] == ["sum.onnx"]


def test_what_is_right_already_is_not_fetched_again(desk: Desk) -> None:
    desk.install_npm()
    assert desk.fetch().returncode == 0
    finished = desk.fetch("--json")
    assert finished.returncode == 0
    assert json.loads(finished.stdout)["models"][0]["made"] is False
    assert desk.npm_runs == 1


def test_what_two_services_share_is_fetched_once_and_must_be_the_same(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(manifest_text())
    mine = read_manifest(path)
    path.write_text(manifest_text(sha256="0" * 64))
    other = read_manifest(path)
    (tmp_path / "sum.onnx").write_bytes(MODEL)
    (model,) = fetch_models([mine, mine], tmp_path, say=pytest.fail)
    assert (model.name, model.made) == ("sum", False)
    with pytest.raises(DisagreementError, match="do not mean the same by sum"):
        fetch_models([mine, other], tmp_path, say=pytest.fail)


def test_a_damaged_model_is_made_again(desk: Desk) -> None:
    desk.install_npm()
    desk.out.mkdir()
    (desk.out / "sum.onnx").write_bytes(MODEL[:-1] + b"?")
    assert desk.fetch().returncode == 0
    assert (desk.out / "sum.onnx").read_bytes() == MODEL


def test_without_npm_the_exit_code_is_3_with_the_remedy(desk: Desk) -> None:
    finished = desk.fetch()
    assert finished.returncode == 3
    assert "npm is missing" in finished.stderr
    assert "apt-get install" in finished.stderr


def test_npm_that_fails_is_reported_as_its_own_failure(desk: Desk) -> None:
    desk.install_npm(exit_code=1)
    finished = desk.fetch()
    assert finished.returncode == 4
    assert "npm error code ENOTFOUND" in finished.stderr
    assert list(desk.out.iterdir()) == []


def test_a_tarball_with_another_hash_is_not_used(desk: Desk) -> None:
    desk.install_npm(PACKAGE + b"more")
    finished = desk.fetch()
    assert finished.returncode == 5
    assert "not the pinned one" in finished.stderr
    assert list(desk.out.iterdir()) == []


def test_a_conversion_that_differs_from_the_manifest_leaves_the_old_file(desk: Desk) -> None:
    desk.install_npm()
    desk.manifest.write_text(manifest_text(sha256="0" * 64))
    desk.out.mkdir()
    (desk.out / "sum.onnx").write_bytes(b"old")
    finished = desk.fetch()
    assert finished.returncode == 5
    assert hashlib.sha256(MODEL).hexdigest() in finished.stderr
    assert (desk.out / "sum.onnx").read_bytes() == b"old"
    assert [path.name for path in desk.out.iterdir()] == ["sum.onnx"]


def test_a_wrong_manifest_ends_with_2(desk: Desk) -> None:
    desk.manifest.write_text("[models]")
    assert desk.fetch().returncode == 2


def test_a_directory_that_cannot_be_written_ends_with_2(desk: Desk) -> None:
    desk.install_npm()
    desk.out.write_text("a file, not a directory")
    finished = desk.fetch()
    assert finished.returncode == 2
    assert "cannot be written" in finished.stderr


def test_npm_keeps_no_second_copy_outside_the_directory() -> None:
    package = PackageSource(npm="@example/sums@1.0.0", integrity=integrity(PACKAGE), bytes=len(PACKAGE))
    assert npm_pack_argv(package, directory=Path("scratch")) == (
        "npm", "pack", "@example/sums@1.0.0", "--silent",
        "--pack-destination", "scratch", "--cache", "scratch/npm-cache",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tarball({"package/other.json": b"{}"}), "lacks"),
        (tarball({GRAPH: link(GRAPH, "/etc/passwd")}), "is a link"),
        (PACKAGE[:100], "does not hold"),
        (b"not a tarball", "does not hold"),
    ],
    ids=["another file", "a link", "cut short", "not a tarball"],
)
def test_a_tarball_that_is_not_as_expected_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "package.tgz"
    path.write_bytes(content)
    with pytest.raises(DriftError) as caught:
        read_members(path, [GRAPH])
    assert said in str(caught.value)


def test_members_with_climbing_names_are_never_written(tmp_path: Path) -> None:
    path = tmp_path / "package.tgz"
    path.write_bytes(tarball({"../climbed": b"evil", "/absolute": b"evil", GRAPH: b"{}"}))
    assert read_members(path, [GRAPH]) == {GRAPH: b"{}"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["package.tgz"]
    assert not (tmp_path.parent / "climbed").exists()
