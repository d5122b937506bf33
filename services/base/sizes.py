"""What a lock's wheels weigh: `python -m services.base.sizes services/requirements-cpu.lock > services/sizes-cpu.toml`.

Called by scripts/lock, on Linux x86-64 with the image's Python. It stages the wheels as the image's build does, so that
the size of a base is known before one is built for the first time. Plans read the file that it writes.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from services.base.install import ENVIRONMENT, batches, site_packages, stage

IMAGE_PLATFORM = ("Linux", "x86_64", (3, 11))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One wheel of a lock."""

    name: str
    version: str
    download_bytes: int
    unpacked_bytes: int


def main(lock: Path) -> None:
    """Print the sizes as TOML."""
    here = (platform.system(), platform.machine(), sys.version_info[:2])
    if here != IMAGE_PLATFORM:
        sys.exit(f"sizes: the wheels of {here} are not the image's ({IMAGE_PLATFORM}); run it on such a machine")
    wheels: list[Wheel] = []
    kept_bytes = memory_bytes = 0
    for requirements in batches(lock.read_text(encoding="utf-8")):
        with tempfile.TemporaryDirectory() as folder:
            batch = weighed(requirements, Path(folder))
            kept_bytes += staged_bytes(requirements, Path(folder))
        wheels += batch
        memory_bytes = max(memory_bytes, sum(wheel.download_bytes + wheel.unpacked_bytes for wheel in batch))
    tables = [
        (
            f"# What {lock.name} weighs, in bytes: made by scripts/lock\n[base]\n"
            f"download_bytes = {sum(wheel.download_bytes for wheel in wheels)}\n"
            f"unpacked_bytes = {sum(wheel.unpacked_bytes for wheel in wheels)}\n"
            f"kept_bytes = {kept_bytes}\n"
            f"memory_bytes = {memory_bytes}\n"
        )
    ]
    tables += [
        f'[wheels.{wheel.name}]\nversion = "{wheel.version}"\n'
        f"download_bytes = {wheel.download_bytes}\nunpacked_bytes = {wheel.unpacked_bytes}\n"
        for wheel in sorted(wheels, key=lambda wheel: wheel.name)
    ]
    sys.stdout.write("\n".join(tables))


def weighed(requirements: str, folder: Path) -> list[Wheel]:
    """Download the wheels of these requirements into `folder/wheels`, checked by their hashes."""
    listed = folder / "requirements.txt"
    listed.write_text(requirements, encoding="utf-8")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--require-hashes", "--only-binary", ":all:", "--dest", str(folder / "wheels"),
            "--requirement", str(listed),
        ],
        check=True,
    )  # fmt: skip
    wheels = []
    for path in (folder / "wheels").iterdir():
        name, version = path.name.split("-")[:2]
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(item.file_size for item in archive.infolist())
        wheels.append(
            Wheel(
                name=re.sub("[._-]+", "-", name).lower(),
                version=version,
                download_bytes=path.stat().st_size,
                unpacked_bytes=unpacked_bytes,
            )
        )
    return wheels


def staged_bytes(requirements: str, folder: Path) -> int:
    """Return the bytes that these requirements, already downloaded, put into the image."""
    os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels")}
    try:
        stage(requirements, folder / "staged", site_packages(ENVIRONMENT))
    finally:
        del os.environ["PIP_NO_INDEX"], os.environ["PIP_FIND_LINKS"]
    files = (path for path in (folder / "staged").rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
