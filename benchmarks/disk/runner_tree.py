# ruff: noqa: INP001 - beside a script that is run by its path, not in a package
"""The synthetic runner that is cleaned: an ext4 file system in a sparse file, with a runner's paths in proportion.

Bytes are allocated and never written (fallocate inside a sparse file), so 36 GiB take some hundred MB of the machine.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GIB: Final = 1024**3
MIB: Final = 1024**2
ENTRIES_PER_SECOND: Final = 6000
"""Files of a tree for each second that its removal took: about 250,000 in all. A Haskell of 4.7 GB was once counted as
20,387 files in 1,110 folders, an Android SDK of 13 GB as 160,913 in 32,192 (conda-forge/conda-smithy#1748, #1750)."""

COMPILED: Final = 0.84  # of the bytes lie in files of 1 MiB or more: an Android NDK
INTERPRETED: Final = 0.57  # a virtual environment of this project


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One path: its size, the seconds that its removal takes on ubuntu-24.04, and how much of it is big files.

    `big_in`: the folders that such a thing keeps them in; without, they lie anywhere among the others.
    """

    path: str
    gib: float
    seconds: float
    big: float
    big_in: tuple[str, ...] = ()


# GiB and seconds: medians of 100 rounds by eclipse-score/more-disk-space; the tool cache: 10 s, the least of 10 to 28.
TREES: Final = (
    Tree(path="usr/share/swift", gib=3.3, seconds=0.6, big=COMPILED,
         big_in=("usr/bin", "usr/lib/swift/linux", "usr/lib/swift_static/linux")),
    *(Tree(path=f"usr/local/lib/android/sdk/ndk/{version}", gib=6.4 / 3, seconds=1.9 / 3, big=COMPILED,
           big_in=("toolchains/llvm/prebuilt/linux-x86_64/bin", "toolchains/llvm/prebuilt/linux-x86_64/lib"))
      for version in ("26.3", "27.3", "28.2")),
    Tree(path="usr/local/.ghcup", gib=3.6, seconds=1.5, big=COMPILED,
         big_in=("bin", "ghc/9.12/lib/ghc-9.12/lib/x86_64-linux-ghc-9.12/ghc-9.12")),
    Tree(path="usr/local/share/powershell", gib=1.2, seconds=0.8, big=INTERPRETED),
    Tree(path="usr/local/share/chromium", gib=0.6, seconds=0.4, big=COMPILED),
    Tree(path="usr/local/lib/android/sdk/rest", gib=3.8, seconds=5.5, big=INTERPRETED),
    Tree(path="usr/share/dotnet", gib=4.9, seconds=4.3, big=INTERPRETED),
    Tree(path="usr/local/julia1.12.2", gib=1.0, seconds=1.3, big=COMPILED),
    *(Tree(path=f"opt/hostedtoolcache/{name}/x64", gib=5.4 * part, seconds=10 * part, big=INTERPRETED)
      for name, part in (("CodeQL/2.23", 0.3), ("Python/3.12.1", 0.1), ("Python/3.11.7", 0.1), ("go/1.24", 0.2),
                         ("node/22.1", 0.1), ("PyPy/3.11", 0.1), ("Ruby/3.3", 0.1))),
    Tree(path="opt/az", gib=1.2, seconds=5.0, big=INTERPRETED),
    Tree(path="usr/local/aws-cli", gib=0.2, seconds=1.4, big=INTERPRETED),
    Tree(path="usr/share/miniconda", gib=0.8, seconds=6.7, big=INTERPRETED),
    Tree(path="usr/local/aws-sam-cli", gib=0.2, seconds=2.9, big=INTERPRETED),
    Tree(path="home/runner/project", gib=0.2, seconds=0.5, big=INTERPRETED),
    Tree(path="usr/lib/python3", gib=0.1, seconds=0.5, big=0.0),
)  # fmt: skip


def build_image(image: Path, mount_at: Path) -> int:
    """Make the file system with all trees in a sparse file; return how many files it holds."""
    with image.open("wb") as file:
        file.truncate(60 * GIB)
    _run("mkfs.ext4", "-q", "-F", "-N", "600000", "-m", "0", "-E", "nodiscard", str(image))
    dice = random.Random(20260605)  # noqa: S311 - the same tree in every run
    with mounted(image, mount_at):
        return sum(_build(mount_at / tree.path, tree, dice) for tree in TREES)


def copy_cold(image: Path, copy: Path) -> None:
    """Copy a sparse image, and let the machine forget what it holds."""
    _run("cp", "--sparse=always", str(image), str(copy))
    forget(copy)


def forget(image: Path) -> None:
    """Write a file out and drop its pages: the next reader waits for the disk."""
    descriptor = os.open(image, os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """Mount an image for as long as it is used."""
    at.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", "loop,noatime", str(image), str(at))
    try:
        yield at
    finally:
        _run("umount", str(at))


def _build(folder: Path, tree: Tree, dice: random.Random) -> int:
    """Fill a folder: big files log-uniform from 1 to 256 MiB, the rest spread over small ones, 12 in a folder."""
    big_in = [folder / place for place in tree.big_in]
    for place in big_in:
        place.mkdir(parents=True)
    left = int(tree.gib * GIB * tree.big)
    sizes = []
    while left > MIB:
        sizes.append(min(left, int(MIB * 256 ** dice.random())))
        left -= sizes[-1]
    small = max(1, int(tree.seconds * ENTRIES_PER_SECOND) - len(sizes))
    mean = tree.gib * GIB * (1 - tree.big) / small
    sizes += [min(MIB - 4096, int(dice.expovariate(1 / mean))) for _ in range(small)]
    dice.shuffle(sizes)
    at = folder
    for number, size in enumerate(sizes):
        if number % 12 == 0:
            group = number // 12
            at = folder / f"lib{group % 7}" / f"part{group // 7 % 40}" / f"v{group}"
            at.mkdir(parents=True)
        place = big_in[number % len(big_in)] if big_in and size >= MIB else at
        descriptor = os.open(place / f"file{number}.a", os.O_WRONLY | os.O_CREAT)
        if size:
            os.posix_fallocate(descriptor, 0, size)
        os.close(descriptor)
    return len(sizes)


def _run(*argv: str) -> None:
    program = shutil.which(argv[0])
    if program is None:
        raise SystemExit(f"{argv[0]} is not installed")
    subprocess.run([program, *argv[1:]], check=True)
