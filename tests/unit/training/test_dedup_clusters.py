"""Groups of copies, the picture that stays of each, and the splits that share pictures."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.dedup.clusters import clusters
from training.dedup.keeping import Files, Leak, outcome, split_of
from training.dedup.pairs import Pairs
from trimtab.errors import BudgetError

SPLITS = ("train", "val", "test")


def pairs_of(*rows: tuple[int, int, float]) -> Pairs:
    rows = tuple(sorted(rows))
    return Pairs(
        first=torch.tensor([row[0] for row in rows], dtype=torch.int64),
        second=torch.tensor([row[1] for row in rows], dtype=torch.int64),
        cosine=torch.tensor([row[2] for row in rows], dtype=torch.float64),
    )


def files_of(*paths: str, contents: list[int] | None = None, sizes: list[tuple[int, int]] | None = None) -> Files:
    return Files(
        paths=paths,
        sizes_bytes=tuple(range(1, len(paths) + 1)),
        sizes=tuple(sizes or [(10, 10)] * len(paths)),
        contents=np.array(contents or range(len(paths)), np.int64),
        splits=np.array([split_of(path, SPLITS) for path in paths], np.int64),
    )


def test_a_chain_is_one_group_by_single_link_and_is_divided_by_complete_link() -> None:
    chain = pairs_of((0, 1, 0.95), (1, 2, 0.93), (2, 3, 0.96))
    assert clusters(5, chain, "single") == ((0, 1, 2, 3),)
    assert clusters(5, chain, "complete") == ((0, 1), (2, 3))


def test_complete_link_joins_the_most_similar_first() -> None:
    assert clusters(3, pairs_of((0, 1, 0.91), (1, 2, 0.99)), "complete") == ((1, 2),)


@pytest.mark.parametrize("link", ["complete", "single"])
def test_a_group_of_many_stays_whole(link: str) -> None:
    many = pairs_of(*((one, other, 0.99) for one, other in combinations(range(30), 2)))
    assert clusters(40, many, link) == (tuple(range(30)),)  # type: ignore[arg-type]  # parametrized by its values


def test_no_pairs_are_no_groups() -> None:
    assert clusters(3, pairs_of(), "complete") == ()
    assert clusters(0, pairs_of(), "single") == ()


@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1])), st.data())
def test_complete_link_groups_hold_only_pairs_and_no_two_of_them_could_be_one(
    edges: set[tuple[int, int]], data: st.DataObject
) -> None:
    rows = [(one, other, data.draw(st.floats(0.9, 1))) for one, other in sorted(edges)]
    groups = clusters(12, pairs_of(*rows), "complete")
    members = [member for group in groups for member in group]
    assert len(members) == len(set(members))
    assert all(pair in edges for group in groups for pair in combinations(group, 2))
    everyone = [*groups, *((alone,) for alone in set(range(12)) - set(members))]
    for one, other in combinations(everyone, 2):
        assert not all((min(a, b), max(a, b)) in edges for a in one for b in other)


def test_a_chain_that_is_too_long_to_divide_is_refused_with_what_to_do() -> None:
    count = 8002
    chain = Pairs(
        first=torch.arange(count - 1),
        second=torch.arange(1, count),
        cosine=torch.full((count - 1,), 0.95, dtype=torch.float64),
    )
    with pytest.raises(BudgetError, match=f"{count} pictures are one chain") as caught:
        clusters(count, chain, "complete")
    assert "link: single" in caught.value.remedy
    assert len(clusters(count, chain, "single")) == 1


def test_the_test_picture_stays_over_val_over_train_whatever_their_sizes_and_names() -> None:
    files = files_of("train/a.png", "val/b.png", "test/c.png", sizes=[(900, 900), (500, 500), (10, 10)])
    alike = pairs_of((0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0))
    (cluster,) = outcome(files, alike, 0.9, "complete", SPLITS).clusters
    assert (cluster.keep, cluster.remove, cluster.splits, cluster.leaks) == (2, (0, 1), (2, 1, 0), True)


def test_in_one_split_the_larger_picture_stays_and_of_equals_the_first_path() -> None:
    larger = files_of("train/a.png", "train/b.png", sizes=[(10, 10), (10, 11)])
    equal = files_of("train/a.png", "train/b.png")
    alike = pairs_of((0, 1, 1.0))
    assert outcome(larger, alike, 0.9, "complete", SPLITS).clusters[0].keep == 1
    assert outcome(equal, alike, 0.9, "complete", SPLITS).clusters[0].keep == 0
    assert not outcome(equal, alike, 0.9, "complete", SPLITS).clusters[0].leaks


def test_a_picture_outside_of_every_split_gives_way_to_one_inside_and_leaks_nothing() -> None:
    files = files_of("more/a.png", "train/b.png", "root.png")
    (cluster,) = outcome(files, pairs_of((0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0)), 0.9, "single", SPLITS).clusters
    assert (cluster.keep, cluster.leaks) == (1, False)


def test_files_of_one_content_are_a_group_without_any_pair() -> None:
    files = files_of("train/a.png", "test/a.png", "train/b.png", contents=[0, 0, 1])
    found = outcome(files, pairs_of(), 0.9, "complete", SPLITS)
    assert [(cluster.keep, cluster.remove) for cluster in found.clusters] == [(1, (0,))]
    assert (found.pairs, found.removed, found.removed_bytes) == (1, 1, 1)


def test_leaks_are_counted_by_pairs_so_that_those_between_groups_are_seen() -> None:
    # 0-1-2 is a chain: complete link keeps 0 with 1 and leaves 2 alone, which still is a copy of 1.
    files = files_of("train/a.png", "train/b.png", "test/c.png", sizes=[(5, 5), (10, 10), (10, 10)])
    found = outcome(files, pairs_of((0, 1, 0.99), (1, 2, 0.95)), 0.9, "complete", SPLITS)
    assert [cluster.leaks for cluster in found.clusters] == [False]
    assert found.leaks == (
        Leak(split="train", other="test", before=1, after=1),
        Leak(split="test", other="train", before=1, after=1),
    )
    whole = outcome(files, pairs_of((0, 1, 0.99), (1, 2, 0.95)), 0.9, "single", SPLITS)
    assert [(leak.before, leak.after) for leak in whole.leaks] == [(1, 0), (1, 0)]
