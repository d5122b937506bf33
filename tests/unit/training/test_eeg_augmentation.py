"""Windows made a little different: each change does what it says, and nothing when it is off."""

from __future__ import annotations

import torch

from training.eeg.augmentation import OPPOSITE, augmented
from training.eeg.config import Augmentation
from training.eeg.montage import CHANNELS

SIGNALS = torch.randn(400, 19, 8, generator=torch.Generator().manual_seed(1))


def test_every_electrode_mirrors_the_one_that_mirrors_it() -> None:
    pairs = {name: CHANNELS[place] for name, place in zip(CHANNELS, OPPOSITE, strict=True)}
    assert (pairs["Fp1"], pairs["O2"], pairs["T3"], pairs["F8"], pairs["Cz"]) == ("Fp2", "O1", "T4", "F7", "Cz")
    assert all(pairs[pairs[name]] == name for name in CHANNELS)
    assert sum(name == other for name, other in pairs.items()) == 3


def test_when_all_is_off_a_window_stays_what_it_is() -> None:
    assert torch.equal(augmented(SIGNALS, Augmentation(gain=0, channel_dropout=0, mirror=0)), SIGNALS)


def test_half_of_the_windows_are_mirrored_whole() -> None:
    found = augmented(SIGNALS, Augmentation(gain=0, channel_dropout=0, mirror=0.5))
    mirrored = (found == SIGNALS[:, list(OPPOSITE)]).all((1, 2))
    same = (found == SIGNALS).all((1, 2))
    assert (mirrored ^ same).all()
    assert 150 < mirrored.sum() < 250


def test_gain_and_left_out_channels_keep_to_their_bounds() -> None:
    found = augmented(SIGNALS, Augmentation(gain=0.2, channel_dropout=0.1, mirror=0)) / SIGNALS
    left_out = (found == 0).all(2)
    assert 0.08 < left_out.float().mean() < 0.12
    gains = found.amax((1, 2))
    assert 0.8 <= gains.min() < 0.85
    assert 1.15 < gains.max() <= 1.2001
