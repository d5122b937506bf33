"""A package of npm's registry, fetched by npm itself, checked against the pinned sha512, read without unpacking.

Starts one program, `npm pack`, which reads the person's own npm configuration (registry, proxy, certificates).
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

from services.model_zoo.errors import DriftError, ProgramError, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from services.serving.manifest import PackageSource

NPM_TIMEOUT_S = 600
MAX_MEMBERS = 10_000
MAX_MEMBER_BYTES = 128 * 1024 * 1024


def npm_pack_argv(package: PackageSource, *, directory: Path) -> tuple[str, ...]:
    """Return the command that leaves the package's tarball in the directory, and nothing anywhere else."""
    # without --cache npm keeps a second copy of the tarball (144 MB for human-models) in the home directory
    cache = directory / "npm-cache"
    return ("npm", "pack", package.npm, "--silent", "--pack-destination", str(directory), "--cache", str(cache))


def fetch_package(package: PackageSource, *, directory: Path) -> Path:
    """Have npm put the tarball into the (empty) directory; return its path once its sha512 is the pinned one."""
    if shutil.which("npm") is None:
        raise ToolMissingError(
            f"npm is missing, and the models come from the npm package {package.npm}.",
            why="No program of that name is on PATH.",
            remedy="Install it (on Debian or Ubuntu, as root: apt-get install --no-install-recommends npm), "
            "then run the same command again.",
        )
    argv = npm_pack_argv(package, directory=directory)
    try:
        finished = subprocess.run(argv, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ProgramError(
            f"`{' '.join(argv)}` did not end within {NPM_TIMEOUT_S} s.",
            why="The registry does not answer, or the line is slow.",
            remedy="Run the same command again; nothing half-done is kept.",
        ) from error
    tarballs = sorted(directory.glob("*.tgz"))
    if finished.returncode != 0 or len(tarballs) != 1:
        last_lines = "\n".join((finished.stdout + finished.stderr).splitlines()[-20:])
        raise ProgramError(
            f"`{' '.join(argv)}` ended with {finished.returncode} and left {len(tarballs)} tarballs.",
            why=last_lines or "It said nothing.",
            remedy="Check that `npm ping` answers (npm's registry, proxy and cafile settings), then run this again.",
        )
    _check_integrity(tarballs[0], package)
    return tarballs[0]


def _check_integrity(tarball: Path, package: PackageSource) -> None:
    with tarball.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    integrity = f"sha512-{base64.b64encode(digest).decode()}"
    size_bytes = tarball.stat().st_size
    if (integrity, size_bytes) != (package.integrity, package.bytes):
        raise DriftError(
            f"The tarball of {package.npm} is not the pinned one.",
            why=f"It has {size_bytes} bytes and the integrity {integrity}, "
            f"the manifest says {package.bytes} and {package.integrity}.",
            remedy="Do not use it. A published version never changes: look at the registry or mirror that npm asks.",
        )


def read_members(tarball: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the named regular files of the tarball, in one pass and in memory.

    Nothing is unpacked, so a member's path cannot lead anywhere; links, doubles and oversized members are refused.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for count, member in enumerate(archive, start=1):
                if count > MAX_MEMBERS:
                    raise _unexpected(tarball, f"it has more than {MAX_MEMBERS} members")
                if member.name not in names:
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or member.name in found or member.size > MAX_MEMBER_BYTES:
                    raise _unexpected(tarball, f"{member.name} is a link, a double, or larger than {MAX_MEMBER_BYTES}")
                found[member.name] = content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _unexpected(tarball, str(error)) from error
    missing = sorted(set(names) - found.keys())
    if missing:
        raise _unexpected(tarball, f"it lacks {', '.join(missing)}")
    return found


def _unexpected(tarball: Path, why: str) -> DriftError:
    return DriftError(
        f"{tarball.name} does not hold what the manifest expects.",
        why=f"In short: {why}.",
        remedy="Compare `source` of the manifest with the package's list of files (`npm pack --dry-run`).",
    )
