"""Fill the environment of a shared base: `python install.py LOCK`, inside the build of services/base/Dockerfile.

Wheels are fetched and unpacked in the staging folder, a RAM disk in the build. Only what runs is copied from there to
the image's environment: the disk never holds a download, nor a file that would be deleted again. Standard library only.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

ENVIRONMENT = Path("/opt/venv")
SECRETS = Path("/run/secrets")
STAGING = Path("/staging")

INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
TORCH_INDEX_VARIABLE = "TORCH_INDEX_URL"  # torch's CPU build is on an index of its own; only torch is taken from there

# Fetched and unpacked one by one, as the staging folder is memory: the largest takes 1.7 GB there, all of them 5 GB.
ALONE = re.compile(r"nvidia-|onnxruntime-gpu|torch")

# What never runs in a service, by its place in site-packages: tests, sources, type stubs, archives, what only makes or
# converts models, and a second copy of onnxruntime for C programs (35 MB; the Python module holds its own).
LEFT_OUT = (
    "bin",
    "**/tests",
    "**/test",
    "**/include",
    "**/*.pyi",
    "**/*.h",
    "**/*.hpp",
    "**/*.cuh",
    "**/*.c",
    "**/*.cpp",
    "**/*.cu",
    "**/*.a",
    "**/*.lib",
    "**/*.cmake",
    "numpy/f2py",
    "numpy/distutils",
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
    "nvidia/cu*/lib/libnvblas.so*",
    "torch/bin/[!t]*",
    "torch/bin/test_*",
    "torch/share",
    "nvidia/cu*/lib/*.alt.so*",
)


def main(lock: Path) -> None:
    """Install everything that a lock names, checked by its hashes, into the environment."""
    site = site_packages(ENVIRONMENT)
    if not site.is_dir():
        venv.create(ENVIRONMENT, symlinks=True)
    for number, requirements in enumerate(batches(lock.read_text(encoding="utf-8"))):
        staged = STAGING / str(number)
        stage(requirements, staged, site)
        shutil.copytree(staged, site, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(staged)
    tell_the_loader(site)


def site_packages(environment: Path) -> Path:
    """Return where an environment keeps its packages."""
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(environment)}))


def batches(lock: str) -> Iterator[str]:
    """Yield the requirements that are installed at the same time: the small ones first, then each large one."""
    entries = [entry for entry in re.split(r"\n(?=[a-z])", lock) if re.match(r"[a-z]", entry)]
    small = [entry for entry in entries if not ALONE.match(entry)]
    if small:
        yield "\n".join(small)
    yield from (entry for entry in entries if ALONE.match(entry))


def stage(requirements: str, folder: Path, site: Path) -> None:
    """Make in a folder what these requirements add to an environment's packages at `site`."""
    fetch(requirements, folder)
    prune(folder)
    compileall.compile_dir(
        folder,
        quiet=1,
        stripdir=str(folder),
        prependdir=str(site),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,  # the image is read-only
    )


def fetch(requirements: str, target: Path) -> None:
    """Unpack the wheels of these requirements, and nothing that they do not name, into a folder."""
    given = {name: secret.read_text().strip() for name in INDEX_VARIABLES if (secret := SECRETS / name).is_file()}
    torch_index = SECRETS / TORCH_INDEX_VARIABLE
    if requirements.startswith("torch==") and torch_index.is_file():
        given["PIP_INDEX_URL"] = torch_index.read_text().strip()
    listed = target.with_suffix(".txt")
    listed.write_text(requirements, encoding="utf-8")
    installed = subprocess.run(
        [
            sys.executable, "-B", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--root-user-action", "ignore", "--no-cache-dir", "--no-compile", "--no-deps",
            "--require-hashes", "--only-binary", ":all:", "--target", str(target), "--requirement", str(listed),
        ],
        env={**os.environ, **given, "TMPDIR": str(target.parent)},
        check=False,
    )  # fmt: skip
    if installed.returncode != 0:
        sys.exit(installed.returncode)  # pip has said why, in the lines that a failed build ends with


def prune(folder: Path) -> None:
    """Delete what never runs."""
    for pattern in LEFT_OUT:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def tell_the_loader(site: Path) -> None:
    """Let the dynamic loader find NVIDIA's libraries: onnxruntime opens them by name, and knows no folder of wheels."""
    folders = sorted({str(library.parent) for library in site.glob("nvidia/*/lib/*.so*")})
    if folders:
        Path("/etc/ld.so.conf.d/nvidia-wheels.conf").write_text("\n".join(folders) + "\n", encoding="utf-8")
        subprocess.run(["/sbin/ldconfig", "-X"], check=True)
        shutil.rmtree("/var/cache/ldconfig", ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
