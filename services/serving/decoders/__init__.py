"""What a model's output tensors mean: pure functions, chosen by name in the manifest.

Boxes and points are in pixels of the model's input; `framing` brings them back to the picture. A decoder that does not
know the shapes that it gets raises ValueError at the warm-up, so a service with the wrong one never gets ready.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from services.serving.decoders.findings import KEYPOINTS, Findings
from services.serving.decoders.movenet import decode_movenet_multipose, decode_movenet_single
from services.serving.decoders.nanodet import decode_nanodet
from services.serving.decoders.rows import decode_flat_rows, decode_pose_rows, decode_rows
from services.serving.decoders.simcc import decode_simcc
from services.serving.decoders.yolo import decode_yolo_nas, decode_yolo_nas_batch, decode_yolov8, decode_yolov8_pose

if TYPE_CHECKING:
    from services.serving.manifest import CropDecoderName, ModelSpec, PictureDecoderName

__all__ = ["CROP_DECODERS", "KEYPOINTS", "PICTURE_DECODERS", "Findings"]

PICTURE_DECODERS: Mapping[PictureDecoderName, Callable[[Sequence[NDArray[Any]], ModelSpec], Findings]] = {
    "centernet": decode_rows,
    "movenet-multipose": decode_movenet_multipose,
    "nanodet": decode_nanodet,
    "yolo-nas": decode_yolo_nas,
    "yolo-nas-batch": decode_yolo_nas_batch,
    "yolo-nas-flat": decode_flat_rows,
    "yolov8": decode_yolov8,
    "yolov8-nms": decode_rows,
    "yolov8-pose": decode_yolov8_pose,
    "yolov8-pose-nms": decode_pose_rows,
}
"""Of models that look at a whole picture: everything that they find in one."""

CROP_DECODERS: Mapping[CropDecoderName, Callable[[Sequence[NDArray[Any]], ModelSpec], NDArray[Any]]] = {
    "movenet-single": decode_movenet_single,
    "rtmpose-simcc": decode_simcc,
}
"""Of models that look at crops of one person each: keypoints (crops, 17, 3) as x, y, score."""
