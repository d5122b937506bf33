"""All pairs: the same as a product of everything with everything, whatever the vectors, the floor and the tiles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.dedup.pairs import PairSearch, all_pairs, joined


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: two of them that spin on busy cores take twenty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def brute_force(vectors: torch.Tensor, floor: float) -> torch.Tensor:
    """Return the pairs (2, n) of one product in float64, in ascending order, in pieces that fit in memory."""
    unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    found = [torch.zeros(0, 2, dtype=torch.int64)]
    for start in range(0, len(unit), 1000):
        hits = (unit[start : start + 1000] @ unit.T >= floor - 1e-12).nonzero() + torch.tensor([start, 0])
        found.append(hits[hits[:, 0] < hits[:, 1]])
    return torch.cat(found).T


def found_by_us(vectors: torch.Tensor, floor: float) -> torch.Tensor:
    pairs = all_pairs(vectors, floor)
    return torch.stack([pairs.first, pairs.second])


def with_copies(count: int, dimensions: int, *, decay: float, seed: int) -> torch.Tensor:
    """Return vectors of which every fifth is near to another, by every amount down to nothing at all."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((count, dimensions)) * np.arange(1, dimensions + 1) ** -decay
    copies = random.choice(count, count // 5, replace=False)
    noise = random.standard_normal((len(copies), dimensions)) * np.geomspace(1e-9, 1, len(copies))[:, None]
    originals = found[random.integers(0, count, len(copies))]
    found[copies] = originals + noise * np.linalg.norm(originals, axis=1, keepdims=True) / np.sqrt(dimensions)
    return torch.from_numpy(found.astype(np.float32))


@pytest.mark.parametrize(("decay", "floor"), [(0.0, 0.5), (0.0, 0.99), (0.5, 0.9), (1.0, 0.99)])
def test_five_thousand_vectors_give_the_pairs_of_a_brute_force_product(decay: float, floor: float) -> None:
    vectors = with_copies(5000, 192, decay=decay, seed=3)
    expected = brute_force(vectors, floor)
    assert expected.shape[1] > 100
    assert torch.equal(found_by_us(vectors, floor), expected)


@given(
    st.integers(0, 40),
    st.integers(1, 20),
    st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    st.floats(0, 2),
    st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_any_small_set_gives_the_pairs_of_a_brute_force_product(
    count: int, dimensions: int, floor: float, decay: float, seed: int
) -> None:
    vectors = with_copies(count, dimensions, decay=decay, seed=seed)
    assert torch.equal(found_by_us(vectors, floor), brute_force(vectors, floor))


def test_vectors_of_any_length_are_compared_by_their_direction() -> None:
    vectors = with_copies(300, 16, decay=0, seed=1)
    scaled = vectors * torch.logspace(-3, 3, 300)[:, None]
    assert torch.equal(found_by_us(scaled, 0.9), brute_force(vectors, 0.9))


def test_equal_vectors_are_pairs_at_a_cosine_of_one() -> None:
    vectors = torch.ones(5, 300) * 0.1
    pairs = all_pairs(vectors, 1.0)
    assert len(pairs) == 10
    assert pairs.cosine.tolist() == pytest.approx([1.0] * 10)


def test_cosines_are_those_of_float64() -> None:
    vectors = with_copies(500, 64, decay=0.5, seed=2)
    pairs = all_pairs(vectors, 0.8)
    unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    exact = (unit[pairs.first] * unit[pairs.second]).sum(dim=1)
    assert torch.allclose(pairs.cosine, exact, rtol=0, atol=1e-12)


def test_steps_can_be_searched_one_at_a_time_and_each_names_its_own_rows() -> None:
    vectors = with_copies(2500, 32, decay=0.5, seed=4)
    search = PairSearch(vectors, 0.9)
    parts = [search.search(step) for step in range(search.steps)]
    assert search.steps == 3
    for step, part in enumerate(parts):
        assert bool(((part.first >= 1024 * step) & (part.first < 1024 * (step + 1))).all())
    whole = all_pairs(vectors, 0.9)
    assert torch.equal(joined(parts).first, whole.first)
    assert torch.equal(joined(parts).second, whole.second)


def test_fewer_axes_are_chosen_when_few_tell_the_vectors_apart() -> None:
    assert PairSearch(with_copies(2000, 256, decay=1.0, seed=5), 0.99).axes < 256
    assert PairSearch(torch.eye(7), 0.99).axes == 7
