"""Every pair of vectors whose cosine reaches a floor: none is missed, none is guessed. Pure arithmetic on tensors.

A vector is turned onto the axes along which the vectors reach farthest; of that the first few numbers are kept, and
the length of the rest as one number more. By Cauchy and Schwarz the product of two such short vectors is never less
than their cosine. So one pass over all pairs with short vectors, in float32 and in tiles, drops what cannot reach the
floor; what is left, which is little, is computed in float64 from the whole vectors. The margin is more than what
float32 can lose in sums of that length; the result depends neither on tiles, nor on threads, nor on how many axes were
chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROWS: Final = 1024
_COLUMNS_OF_A_GPU: Final = 32 * ROWS  # a processor's tile stays in its cache, a GPU's is to be worth its start
_SAMPLE: Final = 1024
_PIECE: Final = 8192
_ROUNDING: Final = 2.0**-23
_LAST_BITS: Final = 1e-12  # what float64 loses in a sum of some thousand products
# What a pair costs besides its products, and what each number of a candidate costs, in products of the first pass.
_PER_PAIR, _PER_CANDIDATE_NUMBER = 24, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Indices, first < second, in ascending order, and the cosine: int64 (n), int64 (n), float64 (n)."""

    first: Tensor
    second: Tensor
    cosine: Tensor

    def __len__(self) -> int:
        return len(self.cosine)

    def at_least(self, threshold: float) -> Pairs:
        """Return those whose cosine reaches a threshold."""
        chosen = self.cosine >= threshold - _LAST_BITS
        return Pairs(first=self.first[chosen], second=self.second[chosen], cosine=self.cosine[chosen])


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of consecutive steps as one."""
    none = Pairs(
        first=torch.zeros(0, dtype=torch.int64),
        second=torch.zeros(0, dtype=torch.int64),
        cosine=torch.zeros(0, dtype=torch.float64),
    )
    parts = [none, *parts]
    return Pairs(
        first=torch.cat([part.first for part in parts]),
        second=torch.cat([part.second for part in parts]),
        cosine=torch.cat([part.cosine for part in parts]),
    )


class PairSearch:
    """All pairs of float32 vectors (n, d), none of them zero, found in `steps` steps of 1,024 rows each."""

    def __init__(self, vectors: Tensor, floor: float) -> None:
        """Choose the axes. Takes some seconds for a million vectors."""
        self._vectors, self._floor = vectors, floor
        self._norms = torch.cat(
            [piece.double().norm(dim=1) for piece in torch.split(vectors, _PIECE)] or [torch.zeros(0)]
        )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sample = self._whole(slice(None, None, max(1, len(vectors) // (8 * _SAMPLE))))
        axes = torch.linalg.eigh(sample.T @ sample).eigenvectors.flip(1)
        self.axes = _fewest_products(sample[:: max(1, len(sample) // _SAMPLE)], axes, floor)
        chosen = axes[:, : self.axes]
        pieces = [_short(self._whole(slice(start, start + _PIECE)), chosen) for start in self._starts(_PIECE)]
        self._short = torch.cat(pieces or [torch.zeros(0, self.axes + 1)]).to(self._device)
        self._bound = _bound(floor, self.axes)
        self._columns = ROWS if self._device.type == "cpu" else _COLUMNS_OF_A_GPU
        self._tile = torch.empty(ROWS, self._columns, device=self._device)
        self._done = torch.ones(ROWS, self._columns, dtype=torch.bool, device=self._device).tril()

    @property
    def steps(self) -> int:
        """Return how many steps there are."""
        return -(-len(self._vectors) // ROWS)

    def search(self, step: int) -> Pairs:
        """Return the pairs whose first vector is one of a step's, counted from 0."""
        start = step * ROWS
        rows = self._short[start : start + ROWS]
        found: list[Tensor] = []
        for begin in range(start, len(self._short), self._columns):
            columns = self._short[begin : begin + self._columns].T
            whole = (len(rows), columns.shape[1]) == self._tile.shape
            bounds = torch.mm(rows, columns, out=self._tile) if whole else torch.mm(rows, columns)
            if begin == start:  # a vector with itself, and what the other order of the two found
                bounds.masked_fill_(self._done[: bounds.shape[0], : bounds.shape[1]], -2.0)
            promising = (bounds.amax(dim=1) >= self._bound).nonzero()[:, 0]
            if len(promising):
                hits = (bounds[promising] >= self._bound).nonzero()
                found.append(torch.stack([promising[hits[:, 0]] + start, hits[:, 1] + begin]).cpu())
        candidates = torch.cat(found, dim=1) if found else torch.zeros(2, 0, dtype=torch.int64)
        return self._exact(candidates)

    def _exact(self, candidates: Tensor) -> Pairs:
        parts = []
        for first, second in (piece.unbind() for piece in torch.split(candidates, _PIECE, dim=1)):
            products = (self._vectors[first].double() * self._vectors[second].double()).sum(dim=1)
            cosine = (products / (self._norms[first] * self._norms[second])).clamp(max=1.0)
            parts.append(Pairs(first=first, second=second, cosine=cosine).at_least(self._floor))
        pairs = joined(parts)
        order = torch.argsort(pairs.first * len(self._vectors) + pairs.second)
        return Pairs(first=pairs.first[order], second=pairs.second[order], cosine=pairs.cosine[order])

    def _whole(self, chosen: slice) -> Tensor:
        """Return some of the vectors in float64, of length 1."""
        return self._vectors[chosen].double() / self._norms[chosen, None]

    def _starts(self, size: int) -> Iterator[int]:
        return iter(range(0, len(self._vectors), size))


def all_pairs(vectors: Tensor, floor: float) -> Pairs:
    """Return every pair of float32 vectors (n, d) whose cosine is at least `floor`."""
    search = PairSearch(vectors, floor)
    return joined([search.search(step) for step in range(search.steps)])


def _short(whole: Tensor, axes: Tensor) -> Tensor:
    """Return float32 (n, axes + 1): the vectors along the axes, and the length of what is left of them."""
    along = whole @ axes
    rest = (1 - along.square().sum(dim=1)).clamp(min=0) + _LAST_BITS  # never less than what is left
    return torch.cat([along, rest.sqrt()[:, None]], dim=1).float()


def _bound(floor: float, axes: int) -> float:
    """Return what the product of two short vectors, computed in float32, cannot be below when the floor is reached."""
    return floor - _LAST_BITS - (axes + 8) * _ROUNDING


def _fewest_products(sample: Tensor, axes: Tensor, floor: float) -> int:
    """Return how many axes cost least, judged on a sample: with few of them many pairs stay to be computed whole."""
    dimensions = axes.shape[1]
    counts = [count for count in (8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024) if count < dimensions] + [dimensions]
    pairs = max(1, len(sample) * (len(sample) - 1))
    costs: dict[int, float] = {}
    for count in counts:
        short = _short(sample, axes[:, :count])
        staying = int((short @ short.T >= _bound(floor, count)).sum()) - len(sample)
        costs[count] = count + _PER_PAIR + max(0, staying) / pairs * _PER_CANDIDATE_NUMBER * dimensions
    return min(costs, key=lambda count: costs[count])
