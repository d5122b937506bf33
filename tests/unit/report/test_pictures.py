"""The golden picture on the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from trimtab.report.pictures import detections, inline_picture


def decoded(data_uri: str) -> Image.Image:
    kind, _, content = data_uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_large_picture_is_made_smaller_and_keeps_its_own_size_for_the_boxes(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGBA", (3000, 1500), "teal").save(path)
    picture = inline_picture(path)
    assert picture is not None
    assert (picture.width, picture.height) == (3000, 1500)
    assert decoded(picture.data_uri).size == (960, 480)


def test_a_picture_taken_sideways_stands_upright_and_its_metadata_stays_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the first row is the right side
    exif[0x010F] = "the maker of the camera"
    path = tmp_path / "sideways.jpg"
    Image.new("RGB", (200, 100)).save(path, exif=exif)
    picture = inline_picture(path)
    assert picture is not None
    assert (picture.width, picture.height) == (100, 200)
    assert not decoded(picture.data_uri).getexif()


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut off"])
def test_a_file_that_is_no_picture_gives_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    assert inline_picture(path) is None
    assert inline_picture(tmp_path / "missing.jpg") is None
    assert inline_picture(tmp_path) is None


def test_a_picture_that_is_cut_off_gives_none(tmp_path: Path, picture: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(picture.read_bytes()[:9000])
    assert inline_picture(path) is None


def test_equal_labels_share_a_colour() -> None:
    answer = {"detections": [{"label": label, "score": 0.5, "box": [0, 0, 1, 1]} for label in ("cup", "dog", "cup")]}
    assert [found.colour for found in detections(answer)] == [0, 1, 0]


def test_the_persons_of_a_pose_are_drawn_as_well() -> None:
    (person,) = detections({"persons": [{"label": "person", "score": 0.5, "box": [0, 1, 2, 3], "keypoints": []}]})
    assert (person.label, person.box) == ("person", (0, 1, 2, 3))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"detections": None},
        {"detections": "person"},
        {"detections": [None, "person", {"label": "person"}]},
        {"detections": [{"label": "person", "score": 0.5, "box": [0, 0, 1]}]},
        {"detections": [{"label": "person", "score": 0.5, "box": [0, 0, 1, float("nan")]}]},
    ],
)
def test_an_answer_without_whole_detections_draws_none(answer: dict[str, object]) -> None:
    assert detections(answer) == ()
