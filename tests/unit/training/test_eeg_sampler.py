"""Which windows are learnt from: balanced as it was meant, the same for one seed and epoch, at any place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.made_up_eeg import loaded, made_up
from training.eeg.config import Sampling
from training.eeg.sampler import Balance, BalancedSampler, shuffled
from training.eeg.windows import FULL, NONE, PARTIAL, list_windows
from trimtab.errors import HealthError

HOW = Sampling(full_per_partial=0.3, none_per_partial=2.5, shuffled_labels=False)


def kinds(*, partial: int, full: int, none: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return windows of each kind, mixed."""
    every = np.repeat(np.array([PARTIAL, FULL, NONE], np.uint8), [partial, full, none])
    return np.random.default_rng(0).permutation(every)


def test_tusz_gives_61616_windows_and_a_third_of_them_has_seizure() -> None:
    sampler = BalancedSampler(kinds(partial=16_215, full=9_000, none=278_775), HOW, seed=1)
    assert sampler.there.total == 303_990
    assert sampler.taken.total == 61_616
    assert round(100 * sampler.taken.seizure_part, 1) == 34.2


def test_an_epoch_has_all_partial_windows_and_each_window_once() -> None:
    every = kinds(partial=40, full=50, none=500)
    order = BalancedSampler(every, HOW, seed=1).order(0)
    assert len(order) == len(set(order.tolist())) == 40 + 12 + 100
    assert set(np.flatnonzero(every == PARTIAL)) <= set(order.tolist())
    assert np.bincount(every[order]).tolist() == [100, 40, 12]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    every = kinds(partial=40, full=50, none=500)
    first, again = (BalancedSampler(every, HOW, seed=1) for _ in range(2))
    again.order(7)  # what was asked before does not matter
    assert first.order(3).tolist() == again.order(3).tolist()
    assert first.order(3).tolist() != first.order(4).tolist()
    assert first.order(3).tolist() != BalancedSampler(every, HOW, seed=2).order(3).tolist()


def test_other_windows_without_seizure_come_in_other_epochs() -> None:
    every = kinds(partial=10, full=0, none=500)
    sampler = BalancedSampler(every, HOW, seed=1)
    seen = {window for epoch in range(100) for window in sampler.order(epoch).tolist()}
    assert len(seen) > 490


def test_where_there_are_fewer_all_are_taken() -> None:
    sampler = BalancedSampler(kinds(partial=100, full=3, none=20), HOW, seed=1)
    assert sampler.taken == Balance(partial=100, full=3, none=20)
    assert sorted(sampler.order(0).tolist()) == list(range(123))


def test_without_a_partial_window_nothing_is_learnt_and_the_cause_is_said() -> None:
    with pytest.raises(HealthError, match="nothing to learn") as caught:
        BalancedSampler(kinds(partial=0, full=2, none=20), HOW, seed=1)
    assert "of 22 windows 2 are wholly in one and 20 without" in caught.value.why


def test_validation_has_every_window_and_is_never_balanced(tmp_path: Path) -> None:
    corpus = made_up()
    listed = list_windows(corpus, loaded(tmp_path).windows)
    assert listed.counts()["dev"]["none"] == 20
    assert len(listed.of("dev")) == 24


def test_shuffled_labels_are_the_same_labels_elsewhere() -> None:
    order = shuffled(1000, seed=3)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() == shuffled(1000, seed=3).tolist()
    assert (order == np.arange(1000)).sum() < 10
