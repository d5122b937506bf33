"""Weights: what a manifest pins, and models that come from the bucket whole and right, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from botocore.exceptions import ReadTimeoutError

from tests.support.models_bucket import ModelsBucket
from trimtab.errors import ProgramError, UsageError
from trimtab.images.weights import Weights, model_chunks, read_weights
from trimtab.units import MIB

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


def read(wanted: Weights, objects: dict[str, bytes]) -> Iterator[bytes]:
    bucket = ModelsBucket(objects)
    return model_chunks(wanted, bucket.operator(), bucket.name)


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


def test_a_model_comes_whole_a_piece_at_a_time() -> None:
    large = bytes(range(256)) * 4096 * 5
    pieces = list(read(weights(large), {"models/gull.onnx": large}))
    assert b"".join(pieces) == large
    assert {len(piece) for piece in pieces} == {MIB}


@pytest.mark.parametrize("held", [CONTENT[:-1], CONTENT + b"x" * 10**7, b"", CONTENT[::-1]])
def test_another_file_under_the_key_is_refused_and_no_byte_more_than_is_pinned_is_given(held: bytes) -> None:
    got: list[bytes] = []
    with pytest.raises(ProgramError, match="is not the model that the manifest pins") as caught:
        got.extend(read(weights(), {"models/gull.onnx": held}))
    assert weights().sha256 in caught.value.why
    assert sum(map(len, got)) <= len(CONTENT)


def test_a_model_that_the_bucket_lacks_names_its_key() -> None:
    with pytest.raises(ProgramError, match=r"s3://harbour-charts-dev/models/gull\.onnx could not be read") as caught:
        next(read(weights(), {}))
    assert "it is not there" in caught.value.why


class _Breaks:
    """A body whose connection breaks after its first piece."""

    def __init__(self) -> None:
        self.pieces = iter([CONTENT[:10]])

    def read(self, _size: int) -> bytes:
        try:
            return next(self.pieces)
        except StopIteration:
            raise ReadTimeoutError(endpoint_url="s3") from None


def test_a_connection_that_breaks_in_mid_model_is_said_in_three_parts() -> None:
    class Broken(ModelsBucket):
        def get_object(self, **_: str) -> dict[str, _Breaks]:
            return {"Body": _Breaks()}

    pieces = model_chunks(weights(), Broken({}).operator(), "harbour-charts-dev")
    assert list(islice(pieces, 1)) == [CONTENT[:10]]
    with pytest.raises(ProgramError, match="could not be read"):
        next(pieces)
