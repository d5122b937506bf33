"""models.toml: the real one holds, and a wrong one is refused with every problem and its path."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, get_args

import pytest

from services.serving.manifest import (
    Crop,
    DecoderName,
    GraphSource,
    Manifest,
    ModelInput,
    ModelSpec,
    PackageSource,
    check_files,
    read_manifest,
)
from services.serving.problems import StartError
from services.serving.settings import Settings, read_settings

SERVICES = Path(__file__).parents[3] / "services"
MANIFESTS = sorted(SERVICES.glob("*/models.toml"))
REAL = (SERVICES / "yolo-combined" / "models.toml").read_text(encoding="utf-8")
TOP_DOWN = (SERVICES / "mmpose" / "models.toml").read_text(encoding="utf-8")
UNSTATED_LICENCE = "licence not stated"  # converted when it is used, never redistributed; docs/services.md says so


def refused(tmp_path: Path, text: str) -> str:
    """Return what is said of this manifest."""
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(StartError) as caught:
        read_manifest(path)
    assert str(path) in caught.value.what
    return caught.value.why


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_every_service_has_a_valid_manifest_whose_keys_change_with_the_file(path: Path) -> None:
    manifest = read_manifest(path)
    for model in manifest.models.values():
        assert model.sha256[:12] in model.key, "a replaced model under an old key breaks the releases that use it"
        assert model.licence in {"Apache-2.0", "MIT", "BSD-3-Clause", UNSTATED_LICENCE}


def test_a_model_has_one_file_and_one_key_in_every_service() -> None:
    described: dict[str, tuple[str, str]] = {}
    for path in MANIFESTS:
        for model in read_manifest(path).models.values():
            assert described.setdefault(model.file, (model.key, model.sha256)) == (model.key, model.sha256)


def test_a_detector_that_a_pose_model_crops_by_is_not_offered_by_itself() -> None:
    assert read_manifest(SERVICES / "mmpose" / "models.toml").offered == {"pose": "movenet-lightning"}
    both = read_manifest(SERVICES / "yolo-combined" / "models.toml").offered
    assert both == {"detect": "nanodet", "pose": "movenet-multipose"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('detector = "nanodet"', 'detector = "nobody"', "crop.detector names nobody, which is no detector"),
        ('detector = "nanodet"', 'detector = "movenet-lightning"', "which is no detector"),
        ('label = "person"', 'label = "unicorn"', "names unicorn, which nanodet does not find"),
        ('resize = "crop"', 'resize = "letterbox"', "the decoder movenet-single looks at crops"),
        ('decoder = "movenet-single"', 'decoder = "movenet-multipose"', "movenet-multipose looks at whole pictures"),
        ("padding = 1.25", "padding = 0.5", "models.movenet-lightning.crop.padding"),
        ("at_most = 20", "atmost = 20", "did you mean at_most?"),
        ('task = "pose"', 'task = "detect"', "serves the task pose"),
    ],
)
def test_a_crop_that_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TOP_DOWN
    assert said in refused(tmp_path, TOP_DOWN.replace(old, new))


def test_every_problem_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    text = REAL.replace('decoder = "nanodet"', 'decoder = "yolov99"').replace("bytes = 9551123", 'bytes = "many"')
    why = refused(tmp_path, text.replace('sha256 = "3158', 'sha257 = "3158'))
    assert "models.nanodet.decoder: unknown decoder 'yolov99', this service has centernet, nanodet, yolo-nas, " in why
    assert "models.nanodet.sha257: unknown key (did you mean sha256?)" in why
    assert "models.nanodet.sha256: Field required" in why
    assert "models.movenet-multipose.bytes: Input should be a valid integer" in why


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "models/nanodet/', 'key = "models/../nanodet/', "climbs out of models/"),
        ('key = "models/nanodet/', 'key = "elsewhere/nanodet/', "models.nanodet.key"),
        ('file = "nanodet.onnx"', 'file = "../nanodet.onnx"', "models.nanodet.file"),
        ('task = "pose"', 'task = "detect"', "serves the task pose"),
        ('package = "human-models"', 'package = "nowhere"', "names nowhere, which packages lacks"),
        ("std = [57.375, 57.12, 58.395]", "std = [57.375, 0.0, 58.395]", "none of it may be 0"),
        ('dtype = "float32"', 'dtype = "int32"', "leave out mean and std"),
        ("min_score = 0.3", "min_score = nan", "models.nanodet.min_score"),
        ("[models.nanodet]", "[models.nanodet", "Expected ']'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_reason(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in refused(tmp_path, REAL.replace(old, new))


def test_two_models_of_one_task_are_refused(tmp_path: Path) -> None:
    second = REAL[REAL.index("[models.nanodet]") : REAL.index("[models.movenet")].replace(
        "models.nanodet", "models.two"
    )
    assert "both serve the task detect" in refused(tmp_path, REAL + second)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read"):
        read_manifest(tmp_path / "models.toml")


def small_manifest(**changes: Any) -> Manifest:
    """Return the real manifest with its detector described otherwise."""
    manifest = read_manifest(SERVICES / "yolo-combined" / "models.toml")
    return manifest.model_copy(update={"models": {"nanodet": manifest.models["nanodet"].model_copy(update=changes)}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "nanodet.onnx: No such file or directory"),
        (b"whole", None),
        (b"whol", "nanodet.onnx: holds 4 bytes, the manifest says 5"),
        (b"other", "nanodet.onnx: has the sha256 d9298a10d1b0"),
    ],
)
def test_a_model_file_must_be_the_one_that_the_manifest_pins(
    tmp_path: Path, content: bytes | None, said: str | None
) -> None:
    manifest = small_manifest(bytes=5, sha256=hashlib.sha256(b"whole").hexdigest())
    if content is not None:
        (tmp_path / "nanodet.onnx").write_bytes(content)
    if said is None:
        check_files(manifest, tmp_path)
    else:
        with pytest.raises(StartError) as caught:
            check_files(manifest, tmp_path)
        assert said in caught.value.why


def test_settings_come_from_the_environment_and_have_defaults() -> None:
    settings = read_settings({"MAX_PIXELS": "1000", "PORT": "0", "UNRELATED": "x"})
    assert (settings.max_pixels, settings.port, settings.max_body_bytes) == (1000, 0, 10 * 1024 * 1024)


def test_every_wrong_setting_is_reported_at_once() -> None:
    with pytest.raises(StartError) as caught:
        read_settings({"MAX_PIXELS": "many", "UPLOAD_TIMEOUT_S": "nan", "PORT": "70000"})
    assert all(name in caught.value.why for name in ("MAX_PIXELS=many", "UPLOAD_TIMEOUT_S=nan", "PORT=70000"))


def test_every_setting_and_every_key_of_a_manifest_is_documented() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "services.md").read_text(encoding="utf-8")
    wanted = {name.upper() for name in Settings.model_fields}
    wanted |= ModelSpec.model_fields.keys() - {"input", "source", "crop"}
    wanted |= {f"crop.{key}" for key in Crop.model_fields}
    wanted |= set(get_args(DecoderName))
    wanted |= {f"input.{key}" for key in ModelInput.model_fields}
    wanted |= {f"source.{key}" for key in GraphSource.model_fields}
    wanted |= PackageSource.model_fields.keys()
    assert {name for name in wanted if f"`{name}`" not in documented} == set()
