"""Groups of copies: by complete link (each a copy of every other) or single link (each of at least one other). Pure.

Complete link merges the two groups whose least similar members are most similar, as long as those reach the threshold;
only the pairs that do are known, and a pair that is not known keeps two groups apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]  # scipy has no stubs
from scipy.sparse import coo_matrix  # type: ignore[import-untyped]  # as above
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]  # as above

from trimtab.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from training.dedup.pairs import Pairs

Link = Literal["complete", "single"]

_APART: Final = 4.0  # farther than any two vectors
_MAX_CHAIN: Final = 8000  # its distances are 256 MB, twice while they are linked


def clusters(count: int, pairs: Pairs, link: Link) -> tuple[tuple[int, ...], ...]:
    """Return the groups of two and more of `count` contents, each ascending, in the order of their first members.

    Raises BudgetError when a chain of copies is too long to be divided by complete link.
    """
    first, second = pairs.first.numpy(), pairs.second.numpy()
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    found = _groups(labels, np.arange(count))
    if link == "complete":
        cosine = pairs.cosine.numpy()
        by_label = np.argsort(labels[first], kind="stable")
        starts = np.searchsorted(labels[first][by_label], np.arange(count + 1))
        found = (
            group
            for chain in found
            for group in _complete(chain, by_label[slice(*starts[labels[chain[0]] :][:2])], first, second, cosine)
        )
    return tuple(sorted(tuple(group.tolist()) for group in found))


def _complete(
    chain: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    cosine: npt.NDArray[np.float64],
) -> Iterator[npt.NDArray[np.int64]]:
    """Divide one connected chain, whose pairs are `edges`, into groups in which every pair is known."""
    size = len(chain)
    if len(edges) == size * (size - 1) // 2:
        return iter((chain,))
    if size > _MAX_CHAIN:
        raise BudgetError(
            f"{size} pictures are one chain of copies of copies",
            why=f"complete link needs every distance in it, and more than {_MAX_CHAIN} pictures do not fit in memory",
            remedy="set a higher matching.threshold (and sweep), or matching.link: single",
        )
    one, other = np.searchsorted(chain, first[edges]), np.searchsorted(chain, second[edges])
    distances = np.full(size * (size - 1) // 2, _APART)
    distances[one * size - one * (one + 1) // 2 + other - one - 1] = 1 - cosine[edges]
    return _groups(fcluster(linkage(distances, "complete"), t=_APART / 2, criterion="distance"), chain)


def _groups(labels: npt.NDArray[np.int32], members: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the members that share a label, where there are two or more."""
    order = np.argsort(labels, kind="stable")
    for group in np.split(members[order], np.flatnonzero(np.diff(labels[order])) + 1):
        if len(group) > 1:
            yield group
