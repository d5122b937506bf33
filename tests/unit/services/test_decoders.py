"""Each decoder on a tiny export with known answers: an ONNX file, loaded by its manifest and run by onnxruntime.

The exports ignore their picture and give tensors of a real one's shape. Those of crops look: they find a bright dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from services.serving.decoders import CROP_DECODERS, PICTURE_DECODERS, Findings
from services.serving.finders import TopDown, WholePicture
from services.serving.manifest import CropDecoderName, DecoderName, ModelSpec, PictureDecoderName
from services.serving.models import Model
from services.serving.pictures import Picture
from services.serving.problems import WarmUpError
from tests.support.exports import constant_export, dot_finder

COCO = tuple(f"class {index}" for index in range(80))
EDGE = 640


def spec(decoder: DecoderName, labels: tuple[str, ...], **described: Any) -> ModelSpec:
    """Return how a manifest would describe an export of this decoder."""
    crop = described.pop("crop", None)
    detects = "pose" not in decoder and not decoder.startswith("movenet")
    wanted = {"width": EDGE, "height": EDGE, "layout": "NCHW", "dtype": "float32", "colour": "RGB"}
    return ModelSpec.model_validate(
        {
            "file": "export.onnx", "key": "models/export.onnx", "sha256": "0" * 64, "bytes": 1,
            "task": "detect" if detects else "pose", "decoder": decoder, "labels": labels,
            "min_score": 0.3, "overlap": 0.6, "licence": "MIT", "upstream": "none",
            "input": {**wanted, "resize": "letterbox" if crop is None else "crop", **described}, "crop": crop,
            "source": {"package": "none", "graph": "none", "weights": ("none",)},
        }
    )  # fmt: skip


def loaded(directory: Path, described: ModelSpec, export: bytes, *, name: str = "export") -> Model:
    """Return the export as the service loads it."""
    path = directory / f"{name}.onnx"
    path.write_bytes(export)
    return Model.load(name, described, path, threads=1)


def picture(width: int, height: int, *dots: tuple[int, int]) -> Picture:
    """Return a black picture with white dots of three pixels around these."""
    image = Image.new("RGB", (width, height))
    for x, y in dots:
        image.paste((255, 255, 255), (x - 1, y - 1, x + 2, y + 2))
    return Picture(image=image, width=width, height=height)


def rows_of(count: int, numbers: int, *rows: tuple[float, ...]) -> np.ndarray:
    """Return (1, count, numbers), zeros but for the first rows."""
    filled = np.zeros((1, count, numbers), np.float32)
    for index, row in enumerate(rows):
        filled[0, index] = row
    return filled


def yolov8(numbers: int, *candidates: Mapping[int, float]) -> np.ndarray:
    """Return (1, numbers, 8400), zeros but for these numbers of some candidates spread over the grid."""
    output = np.zeros((1, numbers, 8400), np.float32)
    for place, candidate in enumerate(candidates):
        for number, value in candidate.items():
            output[0, number, 811 * (place + 1)] = value
    return output


POINTS = tuple(float(number) for point in range(17) for number in (10 * point, 20 * point, point / 20))
"""Seventeen keypoints as x, y, score, in the input's pixels."""

NAS_BOXES = rows_of(8400, 4, (100, 50, 300, 250), (102, 52, 300, 250), (400, 400, 500, 640))
NAS_SCORES = np.zeros((1, 8400, 80), np.float32)
NAS_SCORES[0, 0, 15], NAS_SCORES[0, 1, 15], NAS_SCORES[0, 2, 41] = 0.9, 0.8, 0.5
ROWS = ((100, 50, 300, 250, 0.9, 15), (102, 52, 300, 250, 0.8, 15), (400, 400, 500, 640, 0.5, 41))

CAT_AND_CUP = [("class 15", 0.9, [200, 100, 600, 500]), ("class 41", 0.5, [800, 800, 1000, 1280])]
"""What all of them mean, in pixels of a picture twice as large as the input; the second cat is the first one again."""

DETECTORS: dict[str, tuple[DecoderName, dict[str, np.ndarray], dict[str, Any]]] = {
    "yolov8, raw": (
        "yolov8",
        {"output0": yolov8(
            84,
            {0: 200, 1: 150, 2: 200, 3: 200, 4 + 15: 0.9, 4 + 16: 0.2},
            {0: 201, 1: 151, 2: 198, 3: 198, 4 + 15: 0.8},
            {0: 450, 1: 520, 2: 100, 3: 240, 4 + 41: 0.5},
            {0: 450, 1: 520, 2: 100, 3: 240, 4 + 1: 0.29},
        )},
        {"fill": 114, "std": (255.0, 255.0, 255.0)},
    ),
    "yolov8, selected by itself": ("yolov8-nms", {"output0": rows_of(300, 6, *ROWS)}, {}),
    "yolo-nas": ("yolo-nas", {"boxes": NAS_BOXES, "scores": NAS_SCORES}, {}),
    "yolo-nas, the other way round": ("yolo-nas", {"scores": NAS_SCORES, "boxes": NAS_BOXES}, {}),
    "yolo-nas, flat": (
        "yolo-nas-flat", {"flat": np.array([(0, *row) for row in ROWS], np.float32)}, {"dtype": "uint8"},
    ),
    "yolo-nas, batch": (
        "yolo-nas-batch",
        {
            "num_predictions": np.array([[3]], np.int64),
            "pred_boxes": rows_of(100, 4, *(row[:4] for row in ROWS), (0, 0, 9, 9)),
            "pred_scores": np.array([[*(row[4] for row in ROWS), *[0.9] * 97]], np.float32),
            "pred_classes": np.array([[*(row[5] for row in ROWS), *[-1] * 97]], np.int64),
        },
        {"dtype": "uint8"},
    ),
    "centernet, beside its maps": (
        "centernet",
        {
            "wh": np.zeros((1, 128, 128, 4), np.float32),
            "keypoints": np.zeros((1, 128, 128, 80), np.float32),
            "detections": rows_of(100, 6, *ROWS),
        },
        {"layout": "NHWC"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("decoder", "outputs", "described"), DETECTORS.values(), ids=DETECTORS)
def test_a_detector_s_export_gives_its_objects_in_the_picture_s_pixels(
    tmp_path: Path, decoder: DecoderName, outputs: dict[str, np.ndarray], described: dict[str, Any]
) -> None:
    manifest = spec(decoder, COCO, **described)
    finder = WholePicture(loaded(tmp_path, manifest, constant_export(manifest.input, outputs)))
    found = finder.find(picture(1280, 1280), min_score=0.3, at_most=10)
    assert [manifest.labels[label] for label in found.labels] == [label for label, _, _ in CAT_AND_CUP]
    np.testing.assert_allclose(found.scores, [score for _, score, _ in CAT_AND_CUP], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [box for _, _, box in CAT_AND_CUP], rtol=1e-5)
    assert found.keypoints.shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("decoder", "output"),
    [
        ("yolov8-pose", yolov8(56, {0: 200, 1: 150, 2: 200, 3: 200, 4: 0.9, **dict(enumerate(POINTS, start=5))})),
        ("yolov8-pose-nms", rows_of(300, 57, (100, 50, 300, 250, 0.9, 0, *POINTS))),
    ],
)
def test_a_pose_export_gives_its_persons_in_the_picture_s_pixels(
    tmp_path: Path, decoder: DecoderName, output: np.ndarray
) -> None:
    manifest = spec(decoder, ("person",))
    finder = WholePicture(loaded(tmp_path, manifest, constant_export(manifest.input, {"output0": output})))
    found = finder.find(picture(1280, 640), min_score=0.3, at_most=10)
    np.testing.assert_allclose(found.boxes, [[200, 100, 600, 500]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)
    wanted = np.array(POINTS).reshape(17, 3) * (2, 2, 1)
    np.testing.assert_allclose(found.keypoints[0], wanted, rtol=1e-6)


WRONG: dict[DecoderName, list[tuple[int, ...]]] = {
    "yolov8": [(1, 85, 8400)],
    "yolov8-nms": [(1, 300, 7)],
    "yolov8-pose": [(1, 84, 8400)],
    "yolov8-pose-nms": [(1, 300, 6)],
    "yolo-nas": [(1, 8400, 4), (1, 8400, 79)],
    "yolo-nas-flat": [(3, 6)],
    "yolo-nas-batch": [(1, 100, 4), (1, 1), (1, 100), (1, 100)],
    "centernet": [(1, 100, 6), (1, 100, 6)],
    "nanodet": [(1, 6400, 80)],
    "movenet-multipose": [(1, 6, 55)],
    "movenet-single": [(1, 1, 16, 3)],
    "rtmpose-simcc": [(1, 17, 384), (1, 17, 384)],
}


@pytest.mark.parametrize("decoder", get_args(DecoderName))
def test_an_export_of_other_shapes_never_gets_ready_and_says_what_was_expected(
    tmp_path: Path, decoder: DecoderName
) -> None:
    crop = {"detector": "other", "label": "person", "at_most": 5} if decoder in CROP_DECODERS else None
    manifest = spec(decoder, ("person",) if "pose" in decoder else COCO, crop=crop)
    outputs = {f"output{index}": np.zeros(shape, np.float32) for index, shape in enumerate(WRONG[decoder])}
    with pytest.raises(WarmUpError) as caught:
        loaded(tmp_path, manifest, constant_export(manifest.input, outputs))
    assert "expected" in caught.value.why
    assert str(WRONG[decoder][0]) in caught.value.why


def test_every_decoder_s_name_is_known_to_the_manifest() -> None:
    assert set(PICTURE_DECODERS) == set(get_args(PictureDecoderName))
    assert set(CROP_DECODERS) == set(get_args(CropDecoderName))


def test_a_class_without_a_label_is_an_error_and_not_another_label(tmp_path: Path) -> None:
    manifest = spec("centernet", COCO[:40])
    with pytest.raises(WarmUpError, match="does not answer") as caught:
        loaded(tmp_path, manifest, constant_export(manifest.input, {"detections": rows_of(3, 6, *ROWS)}))
    assert "classes 15 to 41 of 40 labels" in caught.value.why


def test_an_export_may_leave_its_axes_open(tmp_path: Path) -> None:
    manifest = spec("yolov8-nms", COCO)
    export = constant_export(manifest.input, {"output0": rows_of(3, 6, *ROWS)}, shape=("batch", 3, "height", "width"))
    model = loaded(tmp_path, manifest, export)
    assert model.takes_batches
    assert len(WholePicture(model).find(picture(64, 64), min_score=0.3, at_most=9).scores) == 2


# ---- top-down ----

CROP = {"detector": "detector", "label": "person", "at_most": 3, "padding": 1.25}
PERSONS = ((100, 100, 200, 300), (300, 50, 500, 250), (0, 350, 60, 480))  # the last one at the picture's edge
DOTS = ((150, 150), (350, 200), (10, 400))


def top_down(
    directory: Path, decoder: CropDecoderName, *persons: tuple[float, ...], batch: int | str, peak: float = 0.8
) -> TopDown:
    """Return a detector of these persons (and a dog) in 640 x 640, and a pose model that finds each crop's dot."""
    boxes = rows_of(9, 6, *((*box, 0.9 - 0.1 * index, 0) for index, box in enumerate(persons)), (9, 9, 99, 99, 0.95, 1))
    detector = spec("centernet", ("person", "dog"))
    size = {"width": 192, "height": 256} if decoder == "rtmpose-simcc" else {"width": 192, "height": 192}
    layout = "NCHW" if decoder == "rtmpose-simcc" else "NHWC"
    pose = spec(decoder, ("person",), crop=CROP, layout=layout, **size)
    return TopDown(
        WholePicture(
            loaded(directory, detector, constant_export(detector.input, {"detections": boxes}), name="detector")
        ),
        loaded(directory, pose, dot_finder(pose, batch=batch, peak=peak), name="pose"),
        pose.crop,  # type: ignore[arg-type]  # given above
    )


@pytest.mark.parametrize("batch", ["persons", 1], ids=["all crops at once", "one crop at a time"])
@pytest.mark.parametrize("decoder", get_args(CropDecoderName))
def test_each_person_is_looked_at_in_a_crop_and_found_where_they_are(
    tmp_path: Path, decoder: CropDecoderName, batch: int | str
) -> None:
    finder = top_down(tmp_path, decoder, *PERSONS, batch=batch)
    assert finder.model.takes_batches == (batch != 1)
    found = finder.find(picture(640, 640, *DOTS), min_score=0.1, at_most=10)
    np.testing.assert_allclose(found.boxes, PERSONS)
    assert found.keypoints.shape == (3, 17, 3)
    for points, (x, y), box in zip(found.keypoints, DOTS, PERSONS, strict=True):
        # within a pixel of the input, which is larger than one of the picture's for a large person
        step = 1.25 * max((box[2] - box[0]) / 192, (box[3] - box[1]) / 192)
        np.testing.assert_allclose(points[:, :2], np.tile([x, y], (17, 1)), atol=1.5 + step)
    np.testing.assert_allclose(found.keypoints[..., 2], 0.8, rtol=1e-5)


def test_a_person_scores_the_detectors_score_times_the_visible_keypoints(tmp_path: Path) -> None:
    seen = top_down(tmp_path, "rtmpose-simcc", *PERSONS, batch="n", peak=0.5)
    found = seen.find(picture(640, 640, *DOTS), min_score=0.0, at_most=10)
    np.testing.assert_allclose(found.scores, np.array([0.9, 0.8, 0.7]) * 0.5, rtol=1e-5)
    assert len(seen.find(picture(640, 640, *DOTS), min_score=0.38, at_most=10).scores) == 2
    assert len(seen.find(picture(640, 640, *DOTS), min_score=0.0, at_most=1).scores) == 1
    unseen = top_down(tmp_path, "rtmpose-simcc", *PERSONS, batch="n", peak=0.1)
    assert unseen.find(picture(640, 640, *DOTS), min_score=0.0, at_most=9).scores.tolist() == [0, 0, 0]


def test_so_many_persons_are_looked_at_and_no_more(tmp_path: Path) -> None:
    crowd = [(40.0 * index, 100.0, 40.0 * index + 30, 180.0) for index in range(6)]
    found = top_down(tmp_path, "movenet-single", *crowd, batch="n").find(picture(640, 640), min_score=0, at_most=10)
    np.testing.assert_allclose(found.boxes, crowd[: CROP["at_most"]])  # type: ignore[misc]  # a number


def test_without_persons_nobody_is_looked_at(tmp_path: Path) -> None:
    found = top_down(tmp_path, "rtmpose-simcc", batch="n").find(picture(640, 640), min_score=0, at_most=10)
    assert isinstance(found, Findings)
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


def test_a_large_picture_that_was_reduced_while_decoding_gives_the_same_places(tmp_path: Path) -> None:
    finder = top_down(tmp_path, "rtmpose-simcc", *PERSONS, batch="n")
    whole = picture(640, 640, *DOTS)
    large = Picture(image=whole.image, width=2560, height=2560)
    found = finder.find(large, min_score=0, at_most=10)
    np.testing.assert_allclose(found.boxes, np.array(PERSONS) * 4)
    np.testing.assert_allclose(
        found.keypoints[..., :2], finder.find(whole, min_score=0, at_most=10).keypoints[..., :2] * 4
    )


def test_a_dot_in_a_crop_of_many_pixels_is_not_skipped_by_sampling(tmp_path: Path) -> None:
    finder = top_down(tmp_path, "rtmpose-simcc", (0, 0, 640, 640), batch="n")
    large = picture(2560, 2560, (1500, 700))
    (points,) = finder.find(large, min_score=0, at_most=1).keypoints
    np.testing.assert_allclose(points[:, :2], np.tile([1500, 700], (17, 1)), atol=20)
