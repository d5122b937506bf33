# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Measure how soon a full runner has room: `disk free` beside a script of `rm -rf`, on the same synthetic runner.

Every run gets a fresh copy of the tree, cold (nothing of it in the page cache) or warm (all of it was just looked at).
Reported: the time until 10 GiB more are free, until everything on the list is gone, and whether anything else changed.
Needs root (it mounts a file), some 1 GiB of space, and mkfs.ext4.

    sudo python benchmarks/disk/free_disk_space.py [--runs 3] [--scratch FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from runner_tree import GIB, build_image, copy_cold, mounted

_PROGRAM: Final = Path(__file__).resolve().parents[2] / "scripts" / "free-disk-space"
_FIRST_BYTES: Final = 10 * GIB
_STAYS: Final = ("home/runner/project", "usr/lib/python3")
# The order of the scripts that Trimtab replaces; both homes of GHC, and a path that is not there any more.
_USUAL: Final = (
    "usr/share/dotnet", "opt/ghc", "usr/local/.ghcup", "usr/local/share/boost", "opt/hostedtoolcache",
    "usr/local/lib/android", "usr/local/share/powershell", "usr/share/swift",
)  # fmt: skip
_REST: Final = (
    "usr/local/share/chromium", "usr/local/julia1.12.2", "opt/az", "usr/local/aws-cli", "usr/share/miniconda",
    "usr/local/aws-sam-cli",
)  # fmt: skip
"""What the usual scripts leave; removed last here, so that both contenders have the same end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How one run went."""

    contender: str
    cache: str
    first_s: float | None
    returned_s: float
    end_s: float
    freed_bytes: int


class Watcher:
    """Notes when the first bytes were free, every 2 ms, from another thread."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._free_at_start = free_bytes(place)
        self._started_s = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.first_s: float | None = None
        self._thread.start()

    def end(self) -> int:
        """Stop; return the bytes that were freed."""
        self._stop.set()
        self._thread.join()
        return free_bytes(self._place) - self._free_at_start

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            if free_bytes(self._place) - self._free_at_start >= _FIRST_BYTES:
                self.first_s = time.monotonic() - self._started_s
                return


def free_bytes(place: Path) -> int:
    """Return what is free where a folder lies."""
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def rm_script(root: Path) -> list[list[str]]:
    """Return the usual script: one `rm -rf` after the other."""
    return [["rm", "-rf", str(root / path)] for path in (*_USUAL, *_REST)]


def disk_free(root: Path, need_bytes: int) -> list[list[str]]:
    """Return the command that stops when there is enough, and the barrier that waits for the rest."""
    program = [sys.executable, str(_PROGRAM), "--root", str(root)]
    return [[*program, "--need", f"{need_bytes}B"], [*program, "--wait"]]


def measure(contender: str, cache: str, image: Path, scratch: Path) -> Run:
    """Run one contender on a fresh copy of the runner."""
    copy, root = scratch / "copy.img", scratch / "root"
    copy_cold(image, copy)
    with mounted(copy, root):
        if cache == "warm":
            subprocess.run(["/usr/bin/find", str(root), "-size", "+100000G"], check=True)  # looks at every inode
        before = listing(root) if cache == "warm" else None
        free = free_bytes(root)
        commands = {
            "rm -rf, one after the other": rm_script(root),
            "disk free, 10 GiB": disk_free(root, free + _FIRST_BYTES),
            "disk free, everything": disk_free(root, 59 * GIB),
        }[contender]
        environment = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(scratch / "temp"), "ImageOS": "ubuntu24"}
        watcher = Watcher(root)
        started_s = time.monotonic()
        returned_s = 0.0
        for argv in commands:
            subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            returned_s = returned_s or time.monotonic() - started_s
        end_s = time.monotonic() - started_s
        freed = watcher.end()
        if before is not None and listing(root) != before:
            raise SystemExit(f"{contender}: something that is not on the list was changed")
    copy.unlink()
    first = contender.startswith("disk free")
    return Run(
        contender=contender, cache=cache, first_s=watcher.first_s, returned_s=returned_s if first else end_s,
        end_s=end_s, freed_bytes=freed,
    )  # fmt: skip


def listing(root: Path) -> list[tuple[str, int]]:
    """Return what must not change: every file that is not on the list, with its size."""
    return sorted(
        (str(path), path.lstat().st_size) for place in _STAYS for path in (root / place).rglob("*") if path.is_file()
    )


def main() -> None:
    """Measure, and print a table or a JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender and cache (default: 3)")
    parser.add_argument("--scratch", type=Path, help="where the file system is made (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it mounts a file: run it as root")
    with tempfile.TemporaryDirectory(prefix="free-disk-space-", dir=options.scratch) as folder:
        scratch = Path(folder)
        (scratch / "temp").mkdir()
        image = scratch / "runner.img"
        files = build_image(image, scratch / "root")
        runs = [
            measure(contender, cache, image, scratch)
            for _ in range(options.runs)
            for cache in ("cold", "warm")
            for contender in ("rm -rf, one after the other", "disk free, 10 GiB", "disk free, everything")
        ]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        document = {"machine": machine, "files": files, "runs": [asdict(run) for run in runs]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(table(machine, files, runs))


def table(machine: str, files: int, runs: list[Run]) -> str:
    """Return the medians as a table of Markdown."""
    lines = [
        f"{machine}; {files:,} files", "",
        "| contender | cache | first 10 GiB | the command returns | everything is done | freed |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for cache in ("cold", "warm"):
        for contender in dict.fromkeys(run.contender for run in runs):
            these = [run for run in runs if (run.contender, run.cache) == (contender, cache)]
            firsts = [run.first_s for run in these if run.first_s is not None]
            lines.append(
                f"| {contender} | {cache} | {median(firsts):.2f} s | {median(r.returned_s for r in these):.2f} s "
                f"| {median(r.end_s for r in these):.2f} s | {median(r.freed_bytes for r in these) / GIB:.1f} GiB |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
