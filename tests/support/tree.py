"""A copy of the tree with a small lock: environments made from it are whole, and take seconds."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path


def closure(*names: str) -> set[str]:
    """Return the packages that these need, themselves included, by their normalised names."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            needs = [need for need in importlib.metadata.requires(name) or () if "extra ==" not in need]
            waiting += [match[0] for need in needs if (match := re.match(r"[\w.-]+", need))]
    return found


def locked(lock: Path, *names: str) -> str:
    """Return the part of a lock that pins these packages and what they need, hashes included."""
    blocks = re.findall(r"^([\w.-]+)(==.+\n(?: .+\n)+)", lock.read_text(), re.MULTILINE)
    return "".join(name + rest for name, rest in blocks if name in closure(*names))


def torch_stand_in(folder: Path) -> str:
    """Write a wheel named as torch's CPU build, and return the lock that pins it."""
    wheel = folder / "torch-2.13.0+cpu-py3-none-any.whl"
    info = "torch-2.13.0+cpu.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("torch/__init__.py", "")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"torch/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"torch==2.13.0+cpu --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


class Tree:
    """A copy of the tree: what deploy.sh needs, a small lock, and a wheel that stands in for torch's."""

    def __init__(self, source: Path, root: Path) -> None:
        self.root = root
        self.wheels = root.parent / "wheels"
        self.wheels.mkdir(parents=True)
        for name in ("deploy.sh", "pyproject.toml", "README.md", "LICENSE", "requirements-uv.lock"):
            root.mkdir(exist_ok=True)
            shutil.copy(source / name, root)
        for name in ("scripts", "src"):
            shutil.copytree(source / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        small = locked(source / "requirements-dev.lock", "click", "pydantic", "pyyaml", "rich")
        (root / "requirements.lock").write_text(small)
        (root / "requirements-dev.lock").write_text(small + locked(source / "requirements-dev.lock", "iniconfig"))
        (root / "requirements-torch.lock").write_text(torch_stand_in(self.wheels))

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PIP_FIND_LINKS": str(self.wheels)}

    @property
    def site(self) -> Path:
        return next((self.root / ".venv/lib").glob("python*/site-packages"))

    @property
    def stamp(self) -> Path:
        return self.root / ".venv/trimtab.stamp"

    def run(self, *argv: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=cwd or self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def setup(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.root / "scripts/setup-venv", *words, **environment)

    def answers(self) -> bool:
        done = self.run(self.root / "deploy.sh", "--help")
        return done.returncode == 0 and done.stdout.startswith("Usage: trimtab")
