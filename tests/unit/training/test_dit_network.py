"""The diffusion transformer: shapes, a beginning as nothing, conditions that reach every patch."""

from __future__ import annotations

import pytest
import torch

from training.dit.config import Network
from training.dit.network import DiffusionTransformer


def made(*, side: int = 8, channels: int = 1, patch: int = 2) -> DiffusionTransformer:
    torch.manual_seed(5)
    return DiffusionTransformer(
        side=side, channels=channels, classes=3, network=Network(patch=patch, width=32, depth=2, heads=4)
    )


def shaken(network: DiffusionTransformer) -> DiffusionTransformer:
    """Give every weight that begins as nothing a value: a network as it is after some steps."""
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.3)
    return network


@pytest.mark.parametrize(("side", "channels", "patch"), [(8, 1, 2), (8, 3, 4), (12, 3, 3), (28, 1, 4)])
def test_pictures_become_velocities_of_their_own_shape(side: int, channels: int, patch: int) -> None:
    network = made(side=side, channels=channels, patch=patch)
    pictures = torch.rand(2, channels, side, side)
    assert network(pictures, torch.rand(2), torch.tensor([0, 3])).shape == pictures.shape


def test_patches_are_put_back_where_they_were() -> None:
    network = made(side=12, channels=3, patch=4)
    pictures = torch.rand(2, 3, 12, 12)
    patches = network._as_patches(pictures)
    assert patches.shape == (2, 9, 48)
    assert torch.equal(patches[1, 5].view(3, 4, 4), pictures[1, :, 4:8, 8:12])
    assert torch.equal(network._as_pictures(patches), pictures)


def test_it_begins_by_answering_nothing() -> None:
    answer = made()(torch.rand(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 1]))
    assert not answer.any()


def test_time_class_and_every_pixel_reach_the_whole_answer() -> None:
    network = shaken(made())
    pictures, times, labels = torch.rand(1, 1, 8, 8), torch.tensor([0.3]), torch.tensor([1])
    before = network(pictures, times, labels)
    changed = pictures.clone()
    changed[0, 0, 0, 0] += 1
    for after in (
        network(pictures, torch.tensor([0.6]), labels),
        network(pictures, times, torch.tensor([2])),
        network(pictures, times, torch.tensor([network.no_class])),
        network(changed, times, labels),
    ):
        assert (after != before).float().mean() > 0.9


def test_a_patch_knows_where_it_lies() -> None:
    network = shaken(made())
    answer = network._as_patches(network(torch.zeros(1, 1, 8, 8), torch.tensor([0.5]), torch.tensor([0])))
    assert len(torch.unique(answer[0], dim=0)) == 16


def test_each_picture_is_answered_by_itself() -> None:
    network = shaken(made())
    pictures, times, labels = torch.rand(3, 1, 8, 8), torch.rand(3), torch.arange(3)
    together = network(pictures, times, labels)
    for index in range(3):
        alone = network(pictures[index : index + 1], times[index : index + 1], labels[index : index + 1])
        assert torch.allclose(together[index], alone[0], atol=1e-5)
