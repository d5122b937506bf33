"""The training, a step at a time: exact to go on with, and honest when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.learners import advance, assert_goes_on_to_the_same_bit, through_a_file
from tests.support.training import same, small_config, small_folder
from training.classifier.augmentation import augment
from training.classifier.config import Augmentation, Config
from training.classifier.evaluation import Evaluation
from training.classifier.network import ResNet18, SmallCnn
from training.classifier.trainer import Trainer
from training.harness.config import load_config
from training.pictures.folder import ImageFolder, read_image_folder
from trimtab.errors import HealthError


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(small_config(tmp_path_factory.mktemp("config") / "config.yaml"), Config)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, config: Config) -> ImageFolder:
    return read_image_folder(small_folder(tmp_path_factory.mktemp("data") / "digits"), config.pictures)


@pytest.mark.parametrize("steps", [0, 1, 5, 8, 9, 16, 23])
def test_going_on_from_a_state_is_the_same_to_the_bit_as_never_stopping(
    config: Config, data: ImageFolder, steps: int
) -> None:
    assert_goes_on_to_the_same_bit(lambda: Trainer(config, data), stop_at=steps, steps=24)


def test_a_state_is_not_changed_by_the_steps_after_it(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    advance(trainer, 8)
    assert trainer.best is not None
    best = {name: value.clone() for name, value in trainer.best["weights"].items()}
    trainer.advance()
    assert same(trainer.best["weights"], best)


def test_another_seed_is_another_training(tmp_path: Path, config: Config, data: ImageFolder) -> None:
    states = []
    for seed in (1, 2):
        trainer = Trainer(load_config(small_config(tmp_path / "config.yaml", seed=seed), Config), data)
        advance(trainer, 8)
        states.append(trainer.state()["network"])
    assert not same(*states)


def test_every_picture_is_seen_once_in_each_epoch_and_in_another_order(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    first = trainer._order()
    trainer.epoch = 1
    second = trainer._order()
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(60))
    assert first.tolist() != second.tolist()


def test_the_learning_rate_rises_in_a_line_and_falls_to_nothing(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    rates = [trainer.learning_rate(step) for step in range(6 * 8)]
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.0001


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path, data: ImageFolder) -> None:
    path = small_config(
        tmp_path / "config.yaml", optimisation={"patience_epochs": 2, "epochs": 99, "learning_rate": 1e-30}
    )
    trainer = Trainer(load_config(path, Config), data)
    while not trainer.done:
        advance(trainer, 8)
    assert trainer.epoch < 99
    assert trainer.best is not None
    assert trainer.epoch - trainer.best["epoch"] == 2


def test_a_loss_that_is_no_number_stops_with_the_cause(tmp_path: Path, data: ImageFolder) -> None:
    path = small_config(tmp_path / "config.yaml", optimisation={"learning_rate": 1e30, "warmup_steps": 0})
    trainer = Trainer(load_config(path, Config), data)
    with pytest.raises(HealthError, match=r"the loss is (nan|inf) at step \d+") as caught:
        advance(trainer, 48)
    assert "learning rate" in caught.value.why
    assert "lower optimisation.learning_rate" in caught.value.remedy
    assert caught.value.exit_code == 7


def test_evaluating_draws_nothing_and_changes_nothing(config: Config, data: ImageFolder) -> None:
    trainer = Trainer(config, data)
    advance(trainer, 3)
    before = through_a_file(trainer.state())
    evaluation = trainer.evaluate(data.test)
    assert same(through_a_file(trainer.state()), before)
    assert [sum(row) for row in evaluation.confusion] == [4, 4, 4]
    assert trainer.evaluate(data.test) == evaluation


def test_accuracy_is_the_diagonals_part() -> None:
    assert Evaluation(loss=0.0, confusion=((3, 1), (0, 4))).accuracy == 7 / 8


@pytest.mark.parametrize(
    ("kind", "precision", "pieces"),
    [("resnet-18", "float32", 1), ("small-cnn", "bfloat16", 3), ("small-cnn", "float16", 1)],
)
def test_every_kind_of_network_and_precision_goes_on_to_the_same_bits(
    tmp_path: Path, data: ImageFolder, kind: str, precision: str, pieces: int
) -> None:
    path = small_config(
        tmp_path / "config.yaml", network={"kind": kind}, optimisation={"precision": precision, "pieces": pieces}
    )
    config = load_config(path, Config)
    whole = assert_goes_on_to_the_same_bit(lambda: Trainer(config, data), stop_at=5, steps=10)
    assert {value.dtype for value in whole.network.parameters()} == {torch.float32}


def test_a_state_of_float16_holds_the_scale_of_its_losses(tmp_path: Path, data: ImageFolder) -> None:
    scales = []
    for precision in ("float16", "float32"):
        path = small_config(tmp_path / "config.yaml", optimisation={"precision": precision})
        trainer = Trainer(load_config(path, Config), data)
        trainer.advance()
        scales.append(trainer.state()["scaler"].get("scale"))
    assert scales[0] >= 1
    assert scales[1] is None


def test_a_batch_in_pieces_has_the_gradient_of_the_whole_batch(tmp_path: Path, data: ImageFolder) -> None:
    # The pieces are copies of one another, so that the normalisation of each is that of the whole.
    pictures, labels = data.train.pictures[:6].repeat(4, 1, 1, 1) / 255, data.train.labels[10:16].repeat(4)
    gradients = []
    for pieces in (1, 4):
        path = small_config(
            tmp_path / "config.yaml", network={"dropout": 0.0}, optimisation={"pieces": pieces, "batch_size": 24}
        )
        trainer = Trainer(load_config(path, Config), data)
        trainer.accumulate(pictures, labels)
        gradients.append([value.grad for value in trainer.network.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def how(**changes: float) -> Augmentation:
    still: dict[str, Any] = {
        "rotation_degrees": 0, "shift_pixels": 0, "scale": 0, "mirror": 0, "contrast": 0, "erase_pixels": 0,
    }  # fmt: skip
    return Augmentation(**{**still, **changes})


def test_without_augmentation_a_picture_stays_what_it_is() -> None:
    pictures = torch.rand(5, 3, 16, 16)
    assert torch.allclose(augment(pictures, how()), pictures, atol=1e-5)


def test_augmentation_moves_no_further_than_it_is_told() -> None:
    pictures = torch.zeros(200, 1, 17, 17)
    pictures[:, :, 8, 8] = 1
    moved = augment(pictures, how(shift_pixels=2))
    assert moved[:, :, 5:12, 5:12].sum() == pytest.approx(moved.sum().item())
    assert not torch.allclose(moved[0], moved[1])
    assert moved.min() >= 0


def test_a_mirrored_picture_is_the_picture_left_to_right() -> None:
    torch.manual_seed(1)
    pictures = torch.rand(400, 1, 9, 9)
    moved = augment(pictures, how(mirror=0.25))
    mirrored = [torch.allclose(one, other.flip(-1), atol=1e-5) for one, other in zip(moved, pictures, strict=True)]
    as_before = [torch.allclose(one, other, atol=1e-5) for one, other in zip(moved, pictures, strict=True)]
    assert sum(mirrored) + sum(as_before) == 400
    assert 60 < sum(mirrored) < 140


def test_contrast_keeps_the_mean_and_the_range() -> None:
    torch.manual_seed(1)
    pictures = 0.4 + 0.2 * torch.rand(50, 3, 8, 8)
    changed = augment(pictures, how(contrast=0.5))
    assert torch.allclose(changed.mean(dim=(1, 2, 3)), pictures.mean(dim=(1, 2, 3)), atol=1e-5)
    spread = changed.std(dim=(1, 2, 3)) / pictures.std(dim=(1, 2, 3))
    assert 0.5 <= spread.min() < 0.7
    assert 1.3 < spread.max() <= 1.5


def test_what_is_erased_is_a_square_of_that_side_somewhere_else_each_time() -> None:
    torch.manual_seed(1)
    blanked = (augment(torch.ones(2000, 1, 16, 16), how(erase_pixels=4)) < 0.5).squeeze(1)
    counts = blanked.sum(dim=(1, 2))
    assert counts.max() == 16
    assert counts.min() >= 4  # at a corner, a quarter of it
    assert blanked.any(dim=0).all()


@pytest.mark.parametrize("side", [8, 9, 31, 64])
def test_the_networks_take_pictures_of_any_side_even_one_at_a_time(side: int) -> None:
    small = SmallCnn(channels=3, classes=5, width=2, dropout=0.1)
    resnet = ResNet18(channels=3, classes=5, width=2, dropout=0.1, side=side)
    assert small(torch.zeros(1, 3, side, side)).shape == resnet(torch.zeros(1, 3, side, side)).shape == (1, 5)


def test_the_resnet_has_the_published_number_of_weights() -> None:
    resnet = ResNet18(channels=3, classes=1000, width=64, dropout=0.0, side=224)
    assert sum(value.numel() for value in resnet.parameters()) == 11_689_512  # arXiv 1512.03385 with its 18 layers


def test_a_resnet_learns_the_digits_of_a_small_folder(tmp_path: Path, data: ImageFolder) -> None:
    path = small_config(tmp_path / "config.yaml", network={"kind": "resnet-18", "width": 8})
    trainer = Trainer(load_config(path, Config), data)
    while not trainer.done:
        trainer.advance()
    assert trainer.evaluate(data.test).accuracy >= 0.75
