"""From output tensors to boxes in a picture: decoders on tensors with known answers, overlaps, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.serving.boxes import CANDIDATES, best_of_overlapping, overlaps
from services.serving.decoders import KEYPOINTS
from services.serving.decoders.movenet import decode_movenet_multipose
from services.serving.decoders.nanodet import decode_nanodet
from services.serving.finders import framed
from services.serving.framing import crop_around, fit
from services.serving.manifest import ModelInput, read_manifest
from services.serving.models import input_tensor
from services.serving.pictures import Picture

SPECS = read_manifest(Path(__file__).parents[3] / "services" / "yolo-combined" / "models.toml").models
NANODET, MOVENET = SPECS["nanodet"], SPECS["movenet-multipose"]
NO_BIN = -1e9


def nanodet_outputs(bins: int = 11) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return NanoDet's outputs for 416 x 416 by stride: nothing found, every side at bin 0."""
    outputs = {}
    for stride in (8, 16, 32):
        points = (416 // stride) ** 2
        sides = np.full((1, points, 4, bins), NO_BIN, np.float32)
        sides[..., 0] = 0
        outputs[stride] = (np.zeros((1, points, 80), np.float32), sides.reshape(1, points, 4 * bins))
    return outputs


def flat(outputs: dict[int, tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Return the outputs in an order of their own, as a graph does."""
    return [outputs[stride][part] for part in (1, 0) for stride in (32, 8, 16)]


def test_nanodet_places_a_box_around_its_grid_point_by_the_mean_of_each_side() -> None:
    outputs = nanodet_outputs()
    scores, sides = outputs[16]
    point = 3 * 26 + 5  # row 3, column 5
    scores[0, point, 15] = 0.9
    by_side = sides.reshape(1, -1, 4, 11)
    for side, bin_index in enumerate((1, 2, 3, 4)):
        by_side[0, point, side] = NO_BIN
        by_side[0, point, side, bin_index] = 0
    by_side[0, point, 3] = NO_BIN
    by_side[0, point, 3, [4, 5]] = 0  # two equal bins: the mean is 4.5

    found = decode_nanodet(flat(outputs), NANODET)
    best = int(found.scores.argmax())
    x, y = 5 * 16 + 7.5, 3 * 16 + 7.5
    np.testing.assert_allclose(found.boxes[best], [x - 16, y - 32, x + 48, y + 72])
    assert NANODET.labels[found.labels[best]] == "cat"
    assert found.scores[best] == pytest.approx(0.9)
    assert len(found.scores) == 52**2 + 26**2 + 13**2
    assert found.keypoints.shape == (len(found.scores), 0, 3)


@pytest.mark.parametrize("outputs", [[], [np.zeros((1, 2704, 80))], flat(nanodet_outputs())[:-1], [np.zeros(3)]])
def test_nanodet_refuses_tensors_of_other_shapes(outputs: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_nanodet(outputs, NANODET)


def test_nanodet_refuses_heads_that_it_cannot_tell_apart() -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_nanodet(flat(nanodet_outputs(bins=20)), NANODET)  # 4 x 20 sides look like 80 scores


def test_movenet_turns_shares_of_the_input_into_pixels_x_first() -> None:
    output = np.zeros((1, 6, 56), np.float32)
    output[0, 2, :3] = [0.25, 0.5, 0.8]  # the nose: y, x, score
    output[0, 2, 51:] = [0.1, 0.2, 0.9, 0.6, 0.7]  # ymin, xmin, ymax, xmax, score
    found = decode_movenet_multipose([output], MOVENET)
    np.testing.assert_allclose(found.keypoints[2, 0], [128, 64, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found.boxes[2], np.array([0.2, 0.1, 0.6, 0.9]) * 256, rtol=1e-6)
    assert found.scores[2] == pytest.approx(0.7)
    assert found.keypoints.shape == (6, len(KEYPOINTS), 3)
    assert (KEYPOINTS[0], KEYPOINTS[5], KEYPOINTS[16]) == ("nose", "left_shoulder", "right_ankle")


@pytest.mark.parametrize("outputs", [[], [np.zeros((1, 6, 55))], [np.zeros((2, 6, 56))], [np.zeros((1, 6, 56))] * 2])
def test_movenet_refuses_tensors_of_other_shapes(outputs: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_movenet_multipose(outputs, MOVENET)


def test_overlap_is_the_intersection_over_the_union() -> None:
    others = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4], [5, 5, 5, 5]], float)
    np.testing.assert_allclose(overlaps(others[0], others), [1, 1 / 7, 0, 0])
    assert overlaps(others[3], others[3:]) == 0  # two empty boxes share nothing


def test_of_overlapping_boxes_of_one_label_the_best_is_kept() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10]], float)
    scores = np.array([0.5, 0.9, 0.7, 0.6])
    labels = np.array([1, 1, 2, 1])
    kept = best_of_overlapping(boxes, scores, labels, overlap=0.5, at_most=10)
    assert kept.tolist() == [1, 2, 3]
    assert best_of_overlapping(boxes, scores, labels, overlap=0.5, at_most=2).tolist() == [1, 2]
    assert best_of_overlapping(boxes, scores, labels, overlap=0.95, at_most=10).tolist() == [1, 2, 3, 0]


def test_nothing_found_stays_nothing() -> None:
    none = best_of_overlapping(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), overlap=0.5, at_most=5)
    assert none.tolist() == []


def test_only_the_best_candidates_are_compared() -> None:
    count = CANDIDATES * 2
    boxes = np.stack([np.arange(count) * 10.0] * 2 + [np.arange(count) * 10.0 + 5] * 2, axis=1)
    kept = best_of_overlapping(boxes, np.linspace(0, 1, count), np.zeros(count, int), overlap=0.5, at_most=count)
    assert len(kept) == CANDIDATES


@given(
    width=st.integers(1, 10_000),
    height=st.integers(1, 10_000),
    resize=st.sampled_from(["stretch", "letterbox"]),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_point_finds_its_way_into_the_input_and_back(
    width: int, height: int, resize: str, x: float, y: float
) -> None:
    framing = fit((width, height), (416, 320), resize)  # type: ignore[arg-type]  # hypothesis draws plain strings
    assert 1 <= framing.inner_width <= 416
    assert 1 <= framing.inner_height <= 320
    there = np.array([[x * framing.inner_width, y * framing.inner_height]])
    np.testing.assert_allclose(framing.to_picture(there), [[x * width, y * height]], atol=1e-6 * max(width, height))


def test_a_letterbox_keeps_the_proportions_and_clips_its_bars() -> None:
    framing = fit((400, 200), (100, 100), "letterbox")
    assert (framing.inner_width, framing.inner_height) == (100, 50)
    np.testing.assert_allclose(framing.to_picture(np.array([[100, 100], [-5, 25]])), [[400, 200], [0, 100]])


@given(
    corner=st.tuples(st.floats(-50, 150), st.floats(-50, 150)),
    size=st.tuples(st.floats(0, 200), st.floats(0, 200)),
    padding=st.floats(1, 2),
)
def test_a_crop_holds_its_box_in_the_middle_in_the_input_s_proportions(
    corner: tuple[float, float], size: tuple[float, float], padding: float
) -> None:
    box = np.array([*corner, corner[0] + size[0], corner[1] + size[1]])
    crop = crop_around(box, (1000, 1000), (192, 256), padding=padding)
    width, height = 192 * crop.pixels, 256 * crop.pixels
    assert width >= padding * size[0] - 1e-6
    assert height >= padding * size[1] - 1e-6
    np.testing.assert_allclose([crop.left + width / 2, crop.top + height / 2], (box[:2] + box[2:]) / 2, atol=1e-6)
    corners = crop.to_picture(np.array([[0, 0], [192, 256]]))
    np.testing.assert_allclose(
        corners, np.clip([[crop.left, crop.top], [crop.left + width, crop.top + height]], 0, 1000), atol=1e-6
    )


def as_tensor(**changes: object) -> np.ndarray:
    """Return the tensor of a red 4 x 2 picture for an input of 4 x 4, described with these changes."""
    wanted = {
        "width": 4, "height": 4, "layout": "NHWC", "dtype": "int32", "colour": "RGB", "resize": "letterbox", **changes,
    }  # fmt: skip
    described = ModelInput.model_construct(**wanted)
    pixels, _ = framed(Picture(image=Image.new("RGB", (4, 2), (200, 10, 0)), width=4, height=2), described)
    return input_tensor(pixels[np.newaxis], described)


def test_the_input_tensor_has_the_manifest_s_layout_colour_order_type_and_normalisation() -> None:
    plain = as_tensor()
    assert (plain.shape, plain.dtype) == ((1, 4, 4, 3), np.int32)
    assert plain[0, 0, 0].tolist() == [200, 10, 0]
    assert plain[0, 3, 0].tolist() == [0, 0, 0]  # the bar below
    assert as_tensor(fill=114, dtype="uint8")[0, 3, 0].tolist() == [114, 114, 114]
    assert as_tensor(colour="BGR")[0, 0, 0].tolist() == [0, 10, 200]
    assert as_tensor(resize="stretch")[0, 3, 0].tolist() == [200, 10, 0]
    scaled = as_tensor(dtype="float32", layout="NCHW", mean=(100.0, 10.0, 0.0), std=(50.0, 1.0, 1.0))
    assert (scaled.shape, scaled.dtype) == ((1, 3, 4, 4), np.float32)
    assert scaled[0, :, 0, 0].tolist() == [2, 0, 0]
