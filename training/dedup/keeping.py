"""Which picture of a group stays, and which splits know one another's pictures. Pure.

The rule, in this order: the split that is most worth keeping (test over val over train: a training set can lose a
picture, a test set that loses one is another test), the larger picture in pixels, the first path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.dedup.clusters import Link, clusters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from training.dedup.pairs import Pairs

NO_SPLIT: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The pictures that were compared: by file, in the order of their paths.

    `contents` are numbered as the pairs are; `splits` are places in the configured order, or -1 for none.
    """

    paths: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    contents: npt.NDArray[np.int64]
    splits: npt.NDArray[np.int64]

    @property
    def content_count(self) -> int:
        """Return how many different contents there are."""
        return int(self.contents.max(initial=-1)) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Files that are copies of one another: the one that stays, and the others in the order of their paths."""

    keep: int
    remove: tuple[int, ...]
    splits: tuple[int, ...]
    """The splits that it spans, most worth keeping first."""

    @property
    def leaks(self) -> bool:
        """Say whether it spans more than one split."""
        return len(self.splits) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """How many pictures of one split have a copy in another, before and after the removal."""

    split: str
    other: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a threshold leads to."""

    threshold: float
    pairs: int
    clusters: tuple[Cluster, ...]
    leaks: tuple[Leak, ...]
    removed_bytes: int

    @property
    def removed(self) -> int:
        """Return how many files are to be removed."""
        return sum(len(cluster.remove) for cluster in self.clusters)


def split_of(path: str, splits: Sequence[str]) -> int:
    """Return the place of the split in whose folder a path lies, or -1."""
    top, slash, _ = path.partition("/")
    return splits.index(top) if slash and top in splits else NO_SPLIT


def outcome(files: Files, pairs: Pairs, threshold: float, link: Link, splits: Sequence[str]) -> Outcome:
    """Return what to keep and remove at a threshold; `pairs` are those of the contents that reach it."""
    members: list[list[int]] = [[] for _ in range(files.content_count)]
    for index, content in enumerate(files.contents.tolist()):
        members[content].append(index)
    grouped = clusters(files.content_count, pairs, link)
    alone = set(range(files.content_count)).difference(*grouped)
    groups = [[index for content in group for index in members[content]] for group in grouped]
    groups += [members[content] for content in sorted(alone) if len(members[content]) > 1]
    found = tuple(sorted((_cluster(files, group) for group in groups), key=lambda item: min(item.keep, *item.remove)))
    removed = [index for cluster in found for index in cluster.remove]
    return Outcome(
        threshold=threshold,
        pairs=len(pairs) + sum(len(same) * (len(same) - 1) // 2 for same in members),
        clusters=found,
        leaks=_leaks(files, pairs, removed, splits),
        removed_bytes=sum(files.sizes_bytes[index] for index in removed),
    )


def _cluster(files: Files, group: Iterable[int]) -> Cluster:
    def worth(index: int) -> tuple[int, int, str]:
        width, height = files.sizes[index]
        return (-int(files.splits[index]), -width * height, files.paths[index])

    keep, *_ = ordered = sorted(group, key=worth)
    spanned = sorted({int(files.splits[index]) for index in ordered} - {NO_SPLIT}, reverse=True)
    return Cluster(keep=keep, remove=tuple(sorted(ordered[1:])), splits=tuple(spanned))


def _leaks(files: Files, pairs: Pairs, removed: Sequence[int], splits: Sequence[str]) -> tuple[Leak, ...]:
    """Count, by pairs and not by groups, so that what a group's border divides is seen as well."""
    stays = np.ones(len(files.paths), bool)
    stays[list(removed)] = False
    before, after = (_known(files, pairs, which, len(splits)) for which in (np.ones_like(stays), stays))
    return tuple(
        Leak(split=splits[one], other=splits[other], before=int(before[one, other]), after=int(after[one, other]))
        for one in range(len(splits))
        for other in range(len(splits))
        if one != other and before[one, other]
    )


def _known(files: Files, pairs: Pairs, which: npt.NDArray[np.bool_], splits: int) -> npt.NDArray[np.int64]:
    """Return (splits, splits): how many of the chosen files of one split have a copy among those of another."""
    contents, where = files.contents[which], files.splits[which]
    inside = where != NO_SPLIT
    present = np.zeros((files.content_count, splits), bool)
    present[contents[inside], where[inside]] = True
    reached = present.copy()
    first, second = pairs.first.numpy(), pairs.second.numpy()
    np.logical_or.at(reached, first, present[second])
    np.logical_or.at(reached, second, present[first])
    counts = np.zeros((splits, splits), np.int64)
    np.add.at(counts, where[inside], reached[contents[inside]])
    return counts
