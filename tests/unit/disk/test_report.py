"""The tree of what takes the space: its totals add up, and shared layers count once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.disk.folders import folder_bytes, mount_point, tool_caches
from trimtab.disk.report import Node, disk_report, disk_use, engine_nodes, group, state_node, tree_lines
from trimtab.images.build import LABEL_PROJECT
from trimtab.units import GIB, MIB

OURS = {LABEL_PROJECT: "harbour"}


def image(name: str, own: int, shared: int, **more: Any) -> dict[str, Any]:
    return {
        "Id": f"sha256:{name:0<64}", "RepoTags": [f"{name}:1"], "Size": own + shared, "SharedSize": shared,
        "Containers": 0, "Labels": None, **more,
    }  # fmt: skip


ACCOUNT: dict[str, Any] = {
    "LayersSize": 1000 * MIB,
    "Images": [
        image("gulls", 100 * MIB, 300 * MIB, Labels=OURS),
        image("terns", 120 * MIB, 300 * MIB, Labels=OURS, RepoTags=["harbour/terns:cpu", "harbour/terns:release-4"]),
        image("runs", 130 * MIB, 300 * MIB, Labels=OURS, Containers=1),
        image("other", 150 * MIB, 0, Labels={LABEL_PROJECT: "another"}),
        image("nameless", 200 * MIB, 0, RepoTags=None),
    ],
    "Containers": [{"Id": "c" * 64, "Names": ["/harbour-gulls"], "SizeRw": 20 * MIB}, {"Id": "d" * 64, "Names": None}],
    "Volumes": [{"Name": "data", "UsageData": {"Size": 30 * MIB}}, {"Name": "odd", "UsageData": {"Size": -1}}],
    "BuildCache": [
        {"Size": 40 * MIB, "Shared": False, "InUse": False},
        {"Size": 50 * MIB, "Shared": False, "InUse": True},
        {"Size": 60 * MIB, "Shared": True, "InUse": False},
    ],
}


def flat(node: Node) -> dict[str, Node]:
    found = {node.name: node}
    for child in node.children:
        found |= flat(child)
    return found


def adds_up(node: Node) -> bool:
    if not node.children:
        return True
    is_sum = node.size_bytes == sum(child.size_bytes for child in node.children)
    return is_sum and all(map(adds_up, node.children))


def test_images_add_up_to_the_layers_that_the_engine_holds() -> None:
    images, containers, volumes, cache = engine_nodes(ACCOUNT, "harbour")
    assert images.size_bytes == 1000 * MIB
    assert all(map(adds_up, (images, containers, volumes, cache)))
    assert flat(images)["layers that several images share"].size_bytes == 300 * MIB
    assert flat(images)["of harbour"].size_bytes == 350 * MIB
    assert flat(images)["of others"].size_bytes == 350 * MIB


def test_containers_volumes_and_the_cache_that_is_not_in_images_are_told() -> None:
    _, containers, volumes, cache = engine_nodes(ACCOUNT, "harbour")
    assert (containers.size_bytes, volumes.size_bytes, cache.size_bytes) == (20 * MIB, 30 * MIB, 90 * MIB)


def test_only_what_nobody_uses_and_what_is_ours_or_nameless_could_be_taken() -> None:
    images, *_, cache = engine_nodes(ACCOUNT, "harbour")
    taken = {name: node.free_takes_bytes for name, node in flat(images).items() if not node.children}
    assert {name for name, size in taken.items() if size} == {"gulls:1", "nameless0000 (no name)"}
    assert cache.free_takes_bytes == 40 * MIB


def test_without_a_project_no_image_is_ours() -> None:
    images, *_ = engine_nodes(ACCOUNT, None)
    assert flat(images)["of this project"].size_bytes == 0


def test_an_account_of_an_empty_engine_is_nothing() -> None:
    account = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None, "BuildCache": None}
    assert sum(node.size_bytes for node in engine_nodes(account, "harbour")) == 0


@given(st.lists(st.integers(0, 40 * MIB), max_size=30))
def test_a_group_adds_up_however_many_small_ones_it_holds(sizes: list[int]) -> None:
    grouped = group("g", (Node(name=str(i), size_bytes=size, free_takes_bytes=size) for i, size in enumerate(sizes)))
    assert grouped.size_bytes == grouped.free_takes_bytes == sum(sizes)
    assert adds_up(grouped)
    assert len([child for child in grouped.children if child.size_bytes < 10 * MIB]) <= 1


@pytest.mark.parametrize("known_bytes", [0, MIB, 10**18])
def test_a_disk_s_tree_adds_up_to_what_is_used_of_it(known_bytes: int, tmp_path: Path) -> None:
    use = disk_use(mount_point(tmp_path), [Node(name="known", size_bytes=known_bytes, free_takes_bytes=known_bytes)])
    assert adds_up(use.tree)
    assert use.tree.free_takes_bytes == known_bytes
    assert use.total_bytes >= use.tree.size_bytes
    last = use.tree.children[-1].name
    assert last == ("everything else" if known_bytes < GIB else "counted by the engine, not taken on the disk")


def test_a_disk_is_told_without_an_engine_and_without_a_project(tmp_path: Path) -> None:
    disks = disk_report(None, tmp_path, None, None)
    assert Path("/") in {disk.mount for disk in disks} | {mount_point(Path.cwd()), Path("/")}
    assert all(adds_up(disk.tree) for disk in disks)


def test_our_state_is_told_by_folder_and_its_cache_can_be_made_again(tmp_path: Path) -> None:
    for name, size in (("cache/a", 12 * MIB), ("results/b", 14 * MIB)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "ledger.jsonl").write_bytes(b"x")
    (tmp_path / "elsewhere").symlink_to("/usr")
    node = state_node(tmp_path)
    assert adds_up(node)
    folders = flat(node)
    assert 12 * MIB <= folders["cache"].size_bytes == folders["cache"].free_takes_bytes
    assert folders["results"].free_takes_bytes == 0
    assert node.size_bytes < 40 * MIB  # a link is not followed


def test_lines_show_the_size_and_what_could_be_taken(tmp_path: Path) -> None:
    use = disk_use(mount_point(tmp_path), engine_nodes(ACCOUNT, "harbour"))
    lines = list(tree_lines(use))
    assert " used, " in lines[0]
    assert any(line.split() == ["100.0", "MiB", "100.0", "MiB", "gulls:1"] for line in lines)


def test_a_folder_counts_its_blocks_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"x" * MIB)
    os.link(tmp_path / "in" / "file", tmp_path / "in" / "again")
    (tmp_path / "in" / "link").symlink_to("/usr")
    with (tmp_path / "in" / "sparse").open("wb") as file:
        file.truncate(GIB)
    assert MIB <= folder_bytes(tmp_path / "in") < MIB + 64 * 1024
    assert folder_bytes(tmp_path / "absent") == 0


def test_caches_are_looked_for_where_the_tools_keep_them() -> None:
    home = Path("/pilot")
    assert tool_caches({}, home)["pip cache"] == home / ".cache" / "pip"
    assert tool_caches({"XDG_CACHE_HOME": "/c"}, home)["uv cache"] == Path("/c/uv")
    assert tool_caches({"PIP_CACHE_DIR": "/p", "npm_config_cache": "/n"}, home)["npm cache"] == Path("/n")
