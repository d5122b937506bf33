"""Weights: what a manifest pins, and files that are whole and right or not there."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trimtab.errors import ProgramError, UsageError
from trimtab.images.weights import Weights, fetch_weights, is_whole, read_weights

CONTENT = b"weights" * 1000
MANIFEST = """\
[models.gull]
file = "gull.onnx"
key = "models/gull/1.onnx"
sha256 = "%s"
bytes = %d
"""


def weights(content: bytes = CONTENT, *, name: str = "gull.onnx") -> Weights:
    return Weights(file=name, key=f"models/{name}", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


class Bucket:
    """An S3 client that holds some objects and counts who asks."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.asked: list[str] = []

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.asked.append(f"{Bucket}/{Key}")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "it is not there"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}


def fetch(wanted: tuple[Weights, ...], bucket: Bucket, folder: Path) -> list[str]:
    said: list[str] = []
    fetch_weights(wanted, bucket, "harbour-charts-dev", folder, say=said.append)  # type: ignore[arg-type]
    return said


def test_a_manifest_pins_each_model_by_size_and_checksum(tmp_path: Path) -> None:
    manifest = tmp_path / "services" / "gulls" / "models.toml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(MANIFEST % ("ab", 7))
    assert read_weights(tmp_path, "gulls") == (
        Weights(file="gull.onnx", key="models/gull/1.onnx", size_bytes=7, sha256="ab"),
    )


def test_a_manifest_cannot_name_a_place_outside_the_models_folder(tmp_path: Path) -> None:
    manifest = tmp_path / "services" / "gulls" / "models.toml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text((MANIFEST % ("ab", 7)).replace("gull.onnx", "../../etc/gull.onnx", 1))
    assert read_weights(tmp_path, "gulls")[0].file == "gull.onnx"


@pytest.mark.parametrize("text", [None, "", "[models", "[models]\ngull = 3\n", "[models.gull]\nfile = 'x'\n"])
def test_a_manifest_that_cannot_be_read_is_exit_code_2(tmp_path: Path, text: str | None) -> None:
    manifest = tmp_path / "services" / "gulls" / "models.toml"
    manifest.parent.mkdir(parents=True)
    if text is not None:
        manifest.write_text(text)
    with pytest.raises(UsageError, match="the models of service gulls are not known") as caught:
        read_weights(tmp_path, "gulls")
    assert str(manifest) in caught.value.why


def test_every_service_of_the_catalogue_pins_its_models(root: Path) -> None:
    from trimtab.catalogue import load_catalogue

    for name in load_catalogue(root / "trimtab.yaml").services:
        assert read_weights(root, name)


def test_a_model_is_fetched_whole_and_readable_by_the_service(tmp_path: Path) -> None:
    said = fetch((weights(),), Bucket({"models/gull.onnx": CONTENT}), tmp_path / "models")
    path = tmp_path / "models" / "gull.onnx"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["gull.onnx"]
    assert said == ["gull.onnx (6.8 KiB) from s3://harbour-charts-dev/models/gull.onnx"]


def test_a_model_that_is_there_and_right_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "gull.onnx").write_bytes(CONTENT)
    bucket = Bucket({})
    assert fetch((weights(),), bucket, tmp_path) == []
    assert bucket.asked == []


@pytest.mark.parametrize("found", [CONTENT[:-1], CONTENT + b"x", b"", CONTENT[::-1]])
def test_a_model_that_is_there_and_wrong_is_replaced(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "gull.onnx").write_bytes(found)
    fetch((weights(),), Bucket({"models/gull.onnx": CONTENT}), tmp_path)
    assert (tmp_path / "gull.onnx").read_bytes() == CONTENT


@pytest.mark.parametrize("held", [CONTENT[:-1], CONTENT + b"x" * 10**7, b"", CONTENT[::-1]])
def test_another_file_under_the_key_is_refused_and_not_kept(tmp_path: Path, held: bytes) -> None:
    (tmp_path / "gull.onnx").write_bytes(b"the old one")
    with pytest.raises(ProgramError, match="is not the model that the manifest pins") as caught:
        fetch((weights(),), Bucket({"models/gull.onnx": held}), tmp_path)
    assert weights().sha256 in caught.value.why
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("gull.onnx", b"the old one")]


def test_a_model_that_the_bucket_lacks_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"s3://harbour-charts-dev/models/gull\.onnx could not be read") as caught:
        fetch((weights(),), Bucket({}), tmp_path)
    assert "it is not there" in caught.value.why


def test_what_a_killed_fetch_left_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "gull.onnx.new").write_bytes(b"half")
    fetch((weights(),), Bucket({"models/gull.onnx": CONTENT}), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["gull.onnx"]


def test_a_file_is_whole_only_with_the_right_bytes(tmp_path: Path) -> None:
    path = tmp_path / "gull.onnx"
    assert not is_whole(path, weights())
    path.write_bytes(CONTENT[:-1] + b"X")
    assert not is_whole(path, weights())
    path.write_bytes(CONTENT)
    assert is_whole(path, weights())
