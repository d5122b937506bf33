"""Encoders: the built-in one, and ONNX and torch models that a manifest describes, with their checksums."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny_encoder import DIMENSIONS, SIDE, described, tiny_onnx
from training.dedup.config import Config, Embedding
from training.dedup.embeddings import EmbeddingCache
from training.dedup.encoders import load_encoder, read_recipe
from training.dedup.survey import read_survey
from training.harness.config import load_config
from trimtab.errors import UsageError


class Tokens(torch.nn.Module):
    """A model that gives three tokens of five numbers, the second all zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3 * SIDE * SIDE, DIMENSIONS, generator=torch.Generator()))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        first = pictures.flatten(1) @ self.weight
        return torch.stack([first, first * 0, first * 2], dim=1)


@pytest.fixture(scope="module")
def torch_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Tokens]:
    model = Tokens()
    program = torch.export.export(model, (torch.zeros(4, 3, SIDE, SIDE),))
    path = tmp_path_factory.mktemp("model") / "small.pt2"
    torch.export.save(program, path)
    return path.read_bytes(), model


@pytest.fixture(scope="module")
def onnx_model() -> tuple[bytes, np.ndarray[Any, Any]]:
    return tiny_onnx()


def pictures(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def prepared(given: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    values = (given / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    return values.transpose(0, 3, 1, 2).astype(np.float32)


def unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    lengths: np.ndarray[Any, Any] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_a_torch_model_gives_what_it_gives_by_itself(tmp_path: Path, torch_model: Any, pool: str) -> None:
    content, model = torch_model
    recipe = read_recipe(tmp_path, described(tmp_path / "encoders", "torch", content, pool=pool))
    given = pictures(3)
    with torch.inference_mode():
        tokens = model(torch.from_numpy(prepared(given)))
    expected = tokens[:, 0] if pool == "first" else tokens.mean(dim=1)
    found = load_encoder(recipe, batch_size=4, threads=1)(given)
    assert found.dtype == np.float32
    assert np.allclose(found, unit(expected.numpy()), atol=1e-5)


def test_an_onnx_model_gives_what_its_weights_say(tmp_path: Path, onnx_model: Any) -> None:
    pytest.importorskip("onnxruntime")
    content, weight = onnx_model
    recipe = read_recipe(tmp_path, described(tmp_path / "encoders", "onnx", content, pool="none"))
    given = pictures(3)
    found = load_encoder(recipe, batch_size=4, threads=1)(given)
    assert np.allclose(found, unit(prepared(given).reshape(3, -1) @ weight), atol=1e-5)


def test_a_picture_and_its_mirror_image_have_one_vector_when_that_is_asked(tmp_path: Path, onnx_model: Any) -> None:
    how = described(tmp_path / "encoders", "onnx", onnx_model[0], pool="none").model_copy(update={"mirrored": True})
    encode = load_encoder(read_recipe(tmp_path, how), batch_size=4, threads=1)
    given = pictures(2)
    assert np.allclose(encode(given), encode(np.ascontiguousarray(given[:, :, ::-1])), atol=1e-6)


def test_a_vector_does_not_depend_on_what_it_was_computed_with(tmp_path: Path, torch_model: Any) -> None:
    how = described(tmp_path / "encoders", "torch", torch_model[0])
    encode = load_encoder(read_recipe(tmp_path, how), batch_size=4, threads=1)
    given = pictures(4)
    whole = encode(given)
    assert all(np.array_equal(encode(given[row : row + 1])[0], whole[row]) for row in range(4))


def test_pictures_without_a_direction_are_no_numbers(tmp_path: Path, torch_model: Any) -> None:
    how = described(tmp_path / "encoders", "torch", torch_model[0], output=1, pool="first", mean=[0.0, 0.0, 0.0])
    encode = load_encoder(read_recipe(tmp_path, how), batch_size=4, threads=1)
    assert np.isnan(encode(np.zeros((1, SIDE, SIDE, 3), np.uint8))).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "is not the one that"),
        ({"file": "other.pt2"}, "is missing"),
        ({"file": "../small.pt2"}, "file"),
        ({"colour": "BGR"}, "colour"),
        ({"std": [1, 0, 1]}, "std"),
        ({"format": "pickle"}, "format"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(
    tmp_path: Path, torch_model: Any, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_recipe(tmp_path, described(tmp_path / "encoders", "torch", torch_model[0], **changes))
    assert said in str(caught.value)


@pytest.mark.parametrize("changes", [{"dimensions": 6}, {"output": 2}, {"pool": "none"}])
def test_a_model_that_is_not_as_described_is_refused(tmp_path: Path, torch_model: Any, changes: dict[str, Any]) -> None:
    recipe = read_recipe(tmp_path, described(tmp_path / "encoders", "torch", torch_model[0], **changes))
    with pytest.raises(UsageError, match="is not as its manifest says"):
        load_encoder(recipe, batch_size=4, threads=1)(pictures(1))


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_damaged_model_is_refused(tmp_path: Path, kind: str) -> None:
    recipe = read_recipe(tmp_path, described(tmp_path / "encoders", kind, b"not a model"))
    with pytest.raises(UsageError, match="cannot be loaded"):
        load_encoder(recipe, batch_size=4, threads=1)


def test_a_manifest_may_lie_beside_the_pictures_and_its_own_folder_is_not_looked_through(
    tmp_path: Path, root: Path, torch_model: Any
) -> None:
    how = described(tmp_path, "torch", torch_model[0]).model_copy(update={"manifest": "small.json"})
    recipe = read_recipe(tmp_path, how)
    assert load_encoder(recipe, batch_size=4, threads=1)(pictures(2)).shape == (2, DIMENSIONS)

    data = tmp_path / "data"
    described(data / "encoders", "torch", torch_model[0])
    Image.fromarray(pictures(1)[0]).save(data / "a.png")
    Image.fromarray(pictures(1)[0]).save(data / "encoders/sample.png")
    config = load_config(root / "configs/local/dedup.yaml", Config)
    named = config.embedding.model_copy(update={"manifest": "encoders/small.json"})
    survey = read_survey(data, config.model_copy(update={"embedding": named}), tmp_path / "cache")
    assert survey.paths == ("a.png",)
    assert survey.sha256 != read_survey(data, config, tmp_path / "cache").sha256


def test_another_model_or_preparation_has_another_key(tmp_path: Path, torch_model: Any) -> None:
    folder = tmp_path / "encoders"
    keys = {
        read_recipe(tmp_path, Embedding(manifest=None, mirrored=m, batch_size=1, cache_max_gib=0)).key
        for m in (True, False)
    }
    for changes in ({}, {"mean": [0.0, 0.0, 0.0]}, {"fit": "centre"}, {"pool": "mean"}):
        keys.add(read_recipe(tmp_path, described(folder, "torch", torch_model[0], **changes)).key)
    assert len(keys) == 6


NAMES = [sha256(bytes([number])).hexdigest() for number in range(4)]


def fill(cache: Path, key: str, names: list[str], max_bytes: int = 10**6) -> EmbeddingCache:
    opened = EmbeddingCache(cache, key, 3, max_bytes)
    opened.put(names, np.arange(3 * len(names), dtype=np.float32).reshape(-1, 3), [(7, 9)] * len(names))
    return EmbeddingCache(cache, key, 3, max_bytes)


def test_the_cache_gives_back_what_it_was_given_by_content_and_recipe(tmp_path: Path) -> None:
    cache = fill(tmp_path, "a" * 64, NAMES[:2])
    found = cache.find(NAMES[1])
    assert found is not None
    assert (found[0].tolist(), found[1:]) == ([3.0, 4.0, 5.0], (7, 9))
    assert cache.find(NAMES[2]) is None
    assert EmbeddingCache(tmp_path, "b" * 64, 3, 10**6).find(NAMES[1]) is None


def test_a_damaged_file_of_the_cache_is_removed_and_not_believed(tmp_path: Path) -> None:
    fill(tmp_path, "a" * 64, NAMES[:2])
    (path,) = tmp_path.rglob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert EmbeddingCache(tmp_path, "a" * 64, 3, 10**6).find(NAMES[1]) is None
    assert not list(tmp_path.rglob("*.npy"))


def test_the_cache_is_bounded_and_the_oldest_of_others_goes_first(tmp_path: Path) -> None:
    fill(tmp_path, "a" * 64, NAMES[:1])
    (old,) = tmp_path.rglob("*.npy")
    size = old.stat().st_size
    fill(tmp_path, "b" * 64, NAMES[1:2], max_bytes=2 * size)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    cache = fill(tmp_path, "b" * 64, NAMES[2:3], max_bytes=2 * size)
    assert not old.exists()
    cache.put(NAMES[3:], np.ones((1, 3), np.float32), [(1, 1)])  # all that is there is in use: this one is not kept
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert EmbeddingCache(tmp_path, "b" * 64, 3, 10**6).find(NAMES[3]) is None
