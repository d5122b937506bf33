"""The network: a score a second, the same from both directions of time, in float32 and bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.made_up_eeg import loaded, small_config
from training.eeg.config import Config, Network
from training.eeg.mamba_cuda import check
from training.eeg.network import Detector
from training.harness.config import load_config
from trimtab.errors import UsageError

HOW = Network(width=8, strides=[4, 2], dilations=[1, 2], state_blocks=2, states=4, dropout=0.0)


@pytest.mark.parametrize("seconds", [1, 7, 60])
def test_each_second_gets_one_score(seconds: int) -> None:
    assert Detector(HOW, channels=3, rate_hz=32)(torch.randn(2, 3, seconds * 32)).shape == (2, seconds)


def test_the_whole_window_is_seen_from_both_ends() -> None:
    network = Detector(HOW.model_copy(update={"dilations": []}), channels=3, rate_hz=32).eval()
    signals = torch.randn(1, 3, 40 * 32, requires_grad=True)
    for second in (0, 39):
        (gradient,) = torch.autograd.grad(network(signals)[0, second], signals)
        assert (gradient.view(3, 40, 32).abs().amax((0, 2)) > 0).all()


def test_without_state_spaces_a_second_is_seen_by_its_neighbours_only() -> None:
    network = Detector(HOW.model_copy(update={"state_blocks": 0}), channels=3, rate_hz=32).eval()
    signals = torch.randn(1, 3, 40 * 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(signals)[0, 20], signals)
    seen = gradient.view(3, 40, 32).abs().amax((0, 2)) > 0
    assert seen[19:22].all()
    assert not seen[:15].any()
    assert not seen[26:].any()


def test_in_bfloat16_the_scores_are_about_the_same() -> None:
    torch.manual_seed(1)
    network = Detector(HOW, channels=3, rate_hz=32).eval()
    signals = torch.randn(2, 3, 20 * 32)
    with torch.inference_mode():
        exact = network(signals)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(signals).float()
    assert torch.allclose(rough, exact, atol=0.05)
    assert not torch.equal(rough, exact)


def test_the_kernels_check_says_that_there_is_nothing_to_compare_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert check()["outcome"] == "not compared"
    assert "no GPU here" in check()["why"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": {"strides": [4, 3]}}, "network.strides, 4 x 3, must divide signal.rate_hz"),
        ({"windows": {"length_s": 20.5}}, "must be whole seconds"),
        ({"detection": {"upper": 0.5, "lower": 0.6}}, "detection.lower must not be above detection.upper"),
        ({"detection": {"stride_s": 21}}, "seconds would be left out"),
        ({"sampling": {"shufled_labels": True}}, "did you mean 'shuffled_labels'"),
        ({"gpu": "A100"}, "asks for resources: gpu"),
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, **changes)
    assert said in str(caught.value)


@pytest.mark.parametrize("file", ["local/eeg", "local/eeg-smoke", "modal/train", "modal/smoke"])
def test_every_configuration_of_the_job_is_right(file: str, root: Path) -> None:
    config = load_config(root / f"configs/{file}.yaml", Config)
    assert config.corpus.limit_files == (50 if "smoke" in file else None)
    if file == "modal/train":
        assert (config.signal.rate_hz, config.signal.high_hz, config.signal.notch_hz) == (256, 120.0, (60.0,))
        assert (config.window_s, config.windows.stride_s) == (60, 10)


def test_the_small_configuration_has_every_key(tmp_path: Path) -> None:
    assert load_config(small_config(tmp_path / "config.yaml"), Config).threads == 1
