"""From a picture to what is in it, in its own pixels: one model, or a detector and then a look at each person.

Holds no state but its models; the memory of one picture's crops is bounded by the manifest's `crop.at_most`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from services.serving.boxes import best_of_overlapping
from services.serving.decoders import Findings
from services.serving.framing import crop_around, fit
from services.serving.models import blank_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from services.serving.framing import CropFraming, Framing, Resize
    from services.serving.manifest import Crop, Manifest, ModelInput, Task
    from services.serving.models import Model
    from services.serving.pictures import Picture

VISIBLE_SCORE = 0.2  # keypoints that score more count for their person (MMPose's `vis_thr`, as in COCO's evaluations)


class Finder(Protocol):
    """What answers one task. `model` is the one that the answer is named after."""

    @property
    def model(self) -> Model:
        """The model whose keypoints or boxes are returned."""

    def find(self, picture: Picture, *, min_score: float, at_most: int) -> Findings:
        """Return what is in the picture, best first, in the picture's pixels."""


def finders(manifest: Manifest, models: Mapping[str, Model]) -> dict[Task, Finder]:
    """Return what answers each task that the manifest offers."""
    made: dict[Task, Finder] = {}
    for task, name in manifest.offered.items():
        crop = models[name].spec.crop
        whole = WholePicture(models[name])
        made[task] = whole if crop is None else TopDown(WholePicture(models[crop.detector]), models[name], crop)
    return made


class WholePicture:
    """One model looks at the whole picture once."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def find(self, picture: Picture, *, min_score: float, at_most: int) -> Findings:
        """Return what the model finds; of overlapping boxes of one label, the best."""
        spec = self.model.spec
        pixels, framing = framed(picture, spec.input)
        found = self.model.findings(pixels)
        found = found.chosen(found.scores >= min_score)
        best = best_of_overlapping(found.boxes, found.scores, found.labels, overlap=spec.overlap, at_most=at_most)
        found = found.chosen(best)
        corners = framing.to_picture(found.boxes.reshape(-1, 2, 2))
        points = framing.to_picture(found.keypoints[..., :2])
        return Findings(
            boxes=corners.reshape(-1, 4),
            scores=found.scores,
            labels=found.labels,
            keypoints=np.concatenate([points, found.keypoints[..., 2:]], axis=-1),
        )


class TopDown:
    """A detector finds persons, then a pose model looks at each of them, cut out of the picture."""

    def __init__(self, detector: WholePicture, pose: Model, crop: Crop) -> None:
        self.model = pose
        self._detector = detector
        self._crop = crop

    def find(self, picture: Picture, *, min_score: float, at_most: int) -> Findings:
        """Return each person with the detector's box and the pose model's keypoints.

        A person's score is the detector's times the mean of the keypoints that are visible, so a box in which no body
        is seen scores nothing (MMPose rescores so, too).
        """
        found = self._detected(picture)
        keypoints = np.zeros((0, 0, 3))
        if len(found.boxes):
            framings = [self._framing(box, picture) for box in found.boxes]
            crops = np.stack([cropped(picture, framing, self.model.spec.input) for framing in framings])
            keypoints = self.model.keypoints(crops)
            for points, framing in zip(keypoints, framings, strict=True):
                points[:, :2] = framing.to_picture(points[:, :2])
        persons = Findings(
            boxes=found.boxes,
            scores=found.scores * _visible_mean(keypoints),
            labels=np.zeros(len(found.boxes), np.intp),
            keypoints=keypoints,
        )
        best = np.argsort(-persons.scores, kind="stable")
        return persons.chosen(best[persons.scores[best] >= min_score][:at_most])

    def _detected(self, picture: Picture) -> Findings:
        spec = self._detector.model.spec
        found = self._detector.find(picture, min_score=spec.min_score, at_most=1000)
        return found.chosen(np.flatnonzero(found.labels == spec.labels.index(self._crop.label))[: self._crop.at_most])

    def _framing(self, box: NDArray[np.float64], picture: Picture) -> CropFraming:
        size = (self.model.spec.input.width, self.model.spec.input.height)
        return crop_around(box, (picture.width, picture.height), size, padding=self._crop.padding)


def framed(picture: Picture, wanted: ModelInput) -> tuple[NDArray[np.uint8], Framing]:
    """Lay the whole picture into the model's input, RGB (height, width, 3), and say where it lies there."""
    resize: Resize = "stretch" if wanted.resize == "stretch" else "letterbox"
    framing = fit((picture.width, picture.height), (wanted.width, wanted.height), resize)
    canvas = blank_input(wanted)
    canvas.paste(picture.image.resize((framing.inner_width, framing.inner_height), Image.Resampling.BILINEAR))
    return np.asarray(canvas), framing


def cropped(picture: Picture, framing: CropFraming, wanted: ModelInput) -> NDArray[np.uint8]:
    """Cut the framed part out of the picture, RGB (height, width, 3), with the manifest's fill beyond its edges."""
    across = picture.image.width / picture.width  # the picture may have been reduced while it was decoded
    down = picture.image.height / picture.height
    left, top = framing.left * across, framing.top * down
    right = left + framing.pixels * wanted.width * across
    bottom = top + framing.pixels * wanted.height * down
    image = picture.image
    factor = int(min(right - left, bottom - top) / max(wanted.width, wanted.height))
    if factor > 1:  # the affine sampling below looks at four pixels for each of its own: average the others first
        image = image.reduce(factor)
        left, top, right, bottom = (edge / factor for edge in (left, top, right, bottom))
    size = (wanted.width, wanted.height)
    extent = image.transform(
        size,
        Image.Transform.EXTENT,
        (left, top, right, bottom),
        Image.Resampling.BILINEAR,
        fillcolor=(wanted.fill,) * 3,
    )
    return np.asarray(extent)


def _visible_mean(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean score (n,) of each person's visible keypoints; 0 where none is."""
    scores = keypoints[..., 2]
    visible = scores > VISIBLE_SCORE
    mean: NDArray[np.float64] = np.where(visible, scores, 0.0).sum(axis=1) / np.maximum(visible.sum(axis=1), 1)
    return mean
