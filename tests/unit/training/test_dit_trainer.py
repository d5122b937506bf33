"""The training of the diffusion transformer, a step at a time: exact to go on with, and honest when it fails."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.support.learners import advance, assert_goes_on_to_the_same_bit, through_a_file
from tests.support.training import SMALL_DIT, same, small_config, small_folder
from training.dit.config import Config
from training.dit.drawing import draw
from training.dit.grids import as_bytes, picture_grid
from training.dit.trainer import Trainer
from training.harness.config import load_config
from training.pictures.folder import ImageFolder, read_image_folder
from trimtab.errors import HealthError, UsageError


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(small_config(tmp_path_factory.mktemp("config") / "config.yaml", SMALL_DIT), Config)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, config: Config) -> ImageFolder:
    return read_image_folder(small_folder(tmp_path_factory.mktemp("data") / "digits"), config.pictures)


@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 17])
def test_going_on_from_a_state_is_the_same_to_the_bit_as_never_stopping(
    config: Config, data: ImageFolder, steps: int
) -> None:
    assert_goes_on_to_the_same_bit(lambda: Trainer(config, data), stop_at=steps, steps=18)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_goes_on_to_the_same_bits_and_keeps_the_weights_whole(
    tmp_path: Path, data: ImageFolder, precision: str
) -> None:
    config = load_config(
        small_config(tmp_path / "config.yaml", SMALL_DIT, optimisation={"precision": precision}), Config
    )
    whole = assert_goes_on_to_the_same_bit(lambda: Trainer(config, data), stop_at=4, steps=9)
    assert {value.dtype for value in whole.network.parameters()} == {torch.float32}


def test_a_milestone_comes_with_its_grid_at_each_stretch_s_end_and_at_the_end(
    tmp_path: Path, data: ImageFolder
) -> None:
    config = load_config(small_config(tmp_path / "c.yaml", SMALL_DIT, optimisation={"steps": 20}), Config)
    trainer = Trainer(config, data)
    reached = advance(trainer, 20)
    assert trainer.done
    assert [list(item.files) for item in reached] == [
        ["samples/step-000000008.png"], ["samples/step-000000016.png"], ["samples/step-000000020.png"],
    ]  # fmt: skip
    assert [row["step"] for row in trainer.epochs] == [8, 16, 20]
    ending = trainer.finish()
    assert set(ending.files) == {"model.pt", "samples.png", "curves.svg"}
    assert ending.final["classes"] == ["0", "1", "2"]
    assert ending.final["left_out"] == {}
    with Image.open(io.BytesIO(ending.files["samples.png"])) as grid:
        assert grid.size == (2 * 50 - 2, 3 * 50 - 2)  # two of each of three classes, 48 pixels and a gap of 2


def test_measuring_and_drawing_leave_the_training_as_it_was(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    advance(trainer, 3)
    before = through_a_file(trainer.state())
    assert trainer.loss_on(data.test) == trainer.loss_on(data.test)
    draw(trainer.averaged, torch.tensor([0, 1]), config=config, seed=3)
    assert same(through_a_file(trainer.state()), before)


def test_what_is_drawn_depends_on_the_seed_the_class_and_nothing_else(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    advance(trainer, 40)
    labels = torch.tensor([0, 1, 2] * 100)  # more than one batch of the sampler
    drawn = draw(trainer.averaged, labels, config=config, seed=3)
    torch.manual_seed(99)
    assert torch.equal(draw(trainer.averaged, labels, config=config, seed=3), drawn)
    assert not torch.equal(draw(trainer.averaged, labels, config=config, seed=4), drawn)
    other = draw(trainer.averaged, (labels + 1) % 3, config=config, seed=3)
    assert not torch.allclose(other, drawn, atol=1e-3)
    assert torch.allclose(draw(trainer.averaged, labels[:3], config=config, seed=3), drawn[:3], atol=1e-5)


def test_the_averaged_weights_are_the_average_of_the_steps(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    expected = [value.clone() for value in trainer.averaged.parameters()]
    for step in range(1, 6):
        trainer.advance()
        kept = min(0.9, (1 + step) / (10 + step))
        now = list(trainer.network.parameters())
        expected = [kept * mean + (1 - kept) * value.detach() for mean, value in zip(expected, now, strict=True)]
    for mean, value in zip(trainer.averaged.parameters(), expected, strict=True):
        assert torch.allclose(mean, value, atol=1e-6)


def test_the_part_of_the_labels_that_is_asked_for_is_learnt_without_a_class(tmp_path: Path, data: ImageFolder) -> None:
    # A class that was never learnt without itself leaves the weights of "no class" where they began.
    for dropout, changes in ((0.0, False), (0.5, True)):
        path = small_config(
            tmp_path / "c.yaml", SMALL_DIT, optimisation={"label_dropout": dropout, "weight_decay": 0.0}
        )
        trainer = Trainer(load_config(path, Config), data)
        before = trainer.network.labels.weight[3].clone()
        advance(trainer, 6)
        assert torch.equal(trainer.network.labels.weight[3], before) != changes


def test_the_learning_rate_rises_in_a_line_and_stays(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    rates = [trainer.learning_rate(step) for step in range(8)]
    assert rates == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01, 0.01, 0.01, 0.01])


def test_a_loss_that_is_no_number_stops_with_the_cause(tmp_path: Path, data: ImageFolder) -> None:
    path = small_config(tmp_path / "c.yaml", SMALL_DIT, optimisation={"learning_rate": 1e30, "warmup_steps": 0})
    trainer = Trainer(load_config(path, Config), data)
    with pytest.raises(HealthError, match=r"the loss is (nan|inf) at step \d+") as caught:
        advance(trainer, 48)
    assert "learning rate" in caught.value.why


def test_a_grid_shows_each_picture_in_its_place() -> None:
    pictures = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, 1.0, 0.0)])
    with Image.open(io.BytesIO(picture_grid(pictures, columns=2))) as grid:
        assert grid.size == (98, 98)
        assert [grid.getpixel(place) for place in ((10, 10), (60, 10), (10, 60), (49, 10))] == [0, 255, 128, 255]
    with Image.open(io.BytesIO(picture_grid(torch.zeros(1, 3, 64, 64), columns=1))) as grid:
        assert (grid.size, grid.mode) == ((64, 64), "RGB")
    assert as_bytes(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]


def test_every_configuration_of_the_repository_loads(root: Path) -> None:
    found = sorted(root.glob("configs/*/dit*.yaml"))
    assert [path.name for path in found if path.parent.name == "local"] == [
        "dit-fashion.yaml", "dit-smoke.yaml", "dit.yaml",
    ]  # fmt: skip
    for path in found:
        load_config(path, Config)


def test_every_problem_is_told_at_once_with_its_path_and_the_nearest_key(tmp_path: Path) -> None:
    path = small_config(
        tmp_path / "c.yaml",
        SMALL_DIT,
        optimisation={"ema": 0.9, "precision": "float8"},
        sampling={"guidance": 0.5},
        network={"heads": 3},
    )
    with pytest.raises(UsageError, match="4 problems") as caught:
        load_config(path, Config)
    for expected in (
        "optimisation.ema: unknown key; did you mean 'ema_decay'?",
        "optimisation.precision:",
        "sampling.guidance: input should be greater than or equal to 1",
        "network: value error, width must be a multiple of 4 x heads",
    ):
        assert expected in caught.value.why


def test_a_picture_that_patches_do_not_fill_is_refused_and_so_are_resources(tmp_path: Path) -> None:
    content = {**SMALL_DIT, "network": {**SMALL_DIT["network"], "patch": 3}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match="1 problem") as caught:
        load_config(tmp_path / "c.yaml", Config)
    assert "must be a multiple of network.patch" in caught.value.why
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SMALL_DIT, "gpu": "A10G"}))
    with pytest.raises(UsageError, match="asks for resources"):
        load_config(tmp_path / "c.yaml", Config)
