"""The report: a tree of what takes the space of each disk, whose totals add up, and what `disk free` could take of it.

The engine's part comes from its own account (`GET /system/df`), the rest from the file system. Reads; writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trimtab.disk.folders import folder_bytes, mount_point, tool_caches
from trimtab.images.build import LABEL_PROJECT
from trimtab.units import MIB, format_size

_SMALL_BYTES: Final = 10 * MIB
RELEASE_TAG: Final = "release-"
"""What the tag of an image starts with that one may roll back to: never taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Something that takes space; `free_takes_bytes`: what of it `disk free` could take at a desk."""

    name: str
    size_bytes: int
    free_takes_bytes: int = 0
    children: tuple[Node, ...] = ()

    def as_data(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "bytes": self.size_bytes,
            "free_takes_bytes": self.free_takes_bytes,
            "children": [child.as_data() for child in self.children],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """One file system: its size, and the tree of what is used of it."""

    mount: Path
    total_bytes: int
    free_bytes: int
    tree: Node

    def as_data(self) -> dict[str, Any]:
        return {
            "mount": str(self.mount),
            "total_bytes": self.total_bytes,
            "free_bytes": self.free_bytes,
            "used": self.tree.as_data(),
        }


def group(name: str, children: Iterable[Node]) -> Node:
    """Return a node that is the sum of others, the largest first; small ones become one."""
    ordered = sorted(children, key=lambda child: -child.size_bytes)
    large = [child for child in ordered if child.size_bytes >= _SMALL_BYTES or child.children]
    small = [child for child in ordered if child not in large]
    if len(small) > 1:
        takes = sum(child.free_takes_bytes for child in small)
        rest = sum(child.size_bytes for child in small)
        small = [Node(name=f"{len(small)} smaller ones", size_bytes=rest, free_takes_bytes=takes)]
    kept = (*large, *small)
    return Node(
        name=name,
        size_bytes=sum(child.size_bytes for child in kept),
        free_takes_bytes=sum(child.free_takes_bytes for child in kept),
        children=kept,
    )


def engine_nodes(account: Mapping[str, Any], project: str | None) -> tuple[Node, ...]:
    """Return what the engine holds, from its own account: images, containers, volumes, build cache.

    Each image counts with the layers that only it has; the layers that several share count once, beside them.
    """
    images = list(account.get("Images") or ())
    own = [image for image in images if project and (image.get("Labels") or {}).get(LABEL_PROJECT) == project]
    others = [image for image in images if image not in own]
    shared = int(account.get("LayersSize") or 0) - sum(_own_layers(image) for image in images)
    image_node = group(
        "images",
        (
            Node(name="layers that several images share", size_bytes=shared),
            group(f"of {project}" if project else "of this project", (_image(image, is_ours=True) for image in own)),
            group("of others", (_image(image, is_ours=False) for image in others)),
        ),
    )
    containers = (
        Node(name=_container_name(container), size_bytes=int(container.get("SizeRw") or 0))
        for container in account.get("Containers") or ()
    )
    volumes = (
        Node(name=volume["Name"], size_bytes=max(0, int((volume.get("UsageData") or {}).get("Size", 0))))
        for volume in account.get("Volumes") or ()
    )
    cache = [record for record in account.get("BuildCache") or () if not record.get("Shared")]
    size_bytes = sum(int(record["Size"]) for record in cache)
    unused = sum(int(record["Size"]) for record in cache if not record.get("InUse"))
    return (
        image_node,
        group("containers", containers),
        group("volumes", volumes),
        Node(name="build cache", size_bytes=size_bytes, free_takes_bytes=unused),
    )


def folder_node(name: str, folder: Path, *, free_takes: bool = False) -> Node:
    """Return what a folder takes."""
    size_bytes = folder_bytes(folder)
    return Node(name=name, size_bytes=size_bytes, free_takes_bytes=size_bytes if free_takes else 0)


def state_node(state: Path) -> Node:
    """Return what our own state takes, by folder; its cache can be made again."""
    children = sorted(state.iterdir()) if state.is_dir() else []
    return group(
        f"our state, {state}",
        (
            folder_node(child.name, child, free_takes=child.name == "cache")
            if child.is_dir() and not child.is_symlink()
            else Node(name=child.name, size_bytes=child.lstat().st_blocks * 512)
            for child in children
        ),
    )


def disk_use(mount: Path, known: Sequence[Node]) -> DiskUse:
    """Return a disk's tree: what is known of it, and everything else, which together are what is used."""
    status = os.statvfs(mount)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    shown = [node for node in known if node.size_bytes]
    rest = used - sum(node.size_bytes for node in shown)
    # The engine counts what is in a layer, the file system the blocks that it takes: compressed, sparse or linked.
    other = "everything else" if rest >= 0 else "counted by the engine, not taken on the disk"
    children = (*sorted(shown, key=lambda node: -node.size_bytes), Node(name=other, size_bytes=rest))
    takes = sum(node.free_takes_bytes for node in shown)
    return DiskUse(
        mount=mount,
        total_bytes=status.f_blocks * status.f_frsize,
        free_bytes=status.f_bavail * status.f_frsize,
        tree=Node(name=str(mount), size_bytes=used, free_takes_bytes=takes, children=children),
    )


def disk_report(
    account: Mapping[str, Any] | None, data_root: Path, project: str | None, state: Path | None
) -> tuple[DiskUse, ...]:
    """Return every disk that holds the engine's data, a tool's cache or our state; `account` is the engine's own."""
    placed = [(data_root, node) for node in (engine_nodes(account, project) if account is not None else ())]
    for name, folder in tool_caches(os.environ, Path.home()).items():
        if folder.is_dir():
            placed.append((folder, folder_node(f"{name}, {folder}", folder, free_takes=name == "pip cache")))
    if state is not None and state.is_dir():
        placed.append((state, state_node(state)))
    if account is None or not data_root.exists():
        placed.append((Path.cwd(), Node(name="", size_bytes=0)))
    mounts: dict[Path, list[Node]] = {}
    for place, node in placed:
        mounts.setdefault(mount_point(place if place.exists() else Path("/")), []).append(node)
    return tuple(disk_use(mount, nodes) for mount, nodes in mounts.items())


def tree_lines(disk: DiskUse) -> Iterator[str]:
    """Yield a disk's tree as lines: the size, what `disk free` could take of it, and what it is."""
    yield (
        f"{disk.mount}: {format_size(disk.tree.size_bytes)} used, {format_size(disk.free_bytes)} free "
        f"of {format_size(disk.total_bytes)}"
    )
    yield f"{'size':>12}  {'free takes':>10}"
    for child in disk.tree.children:
        yield from _lines(child, "")


def _lines(node: Node, indent: str) -> Iterator[str]:
    takes = format_size(node.free_takes_bytes) if node.free_takes_bytes else "-"
    yield f"{format_size(node.size_bytes):>12}  {takes:>10}  {indent}{node.name}"
    for child in node.children:
        if child.size_bytes:
            yield from _lines(child, indent + "  ")


def _image(image: Mapping[str, Any], *, is_ours: bool) -> Node:
    tags = [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]
    size_bytes = _own_layers(image)
    is_kept = any(tag.rpartition(":")[2].startswith(RELEASE_TAG) for tag in tags)
    is_taken = not image.get("Containers") and not is_kept and (is_ours or not tags)
    name = ", ".join(tags) or f"{str(image['Id']).removeprefix('sha256:')[:12]} (no name)"
    return Node(name=name, size_bytes=size_bytes, free_takes_bytes=size_bytes if is_taken else 0)


def _own_layers(image: Mapping[str, Any]) -> int:
    return int(image["Size"]) - max(0, int(image.get("SharedSize") or 0))


def _container_name(container: Mapping[str, Any]) -> str:
    return next((name.lstrip("/") for name in container.get("Names") or ()), str(container["Id"])[:12])
