"""Modal's client and what it needs, laid out as the platform mounts them into containers. Reads this Python's packages.

`/pkg` holds the client itself and comes before the image's packages; `/__modal/deps` holds its dependencies and comes
after them, by the same sitecustomize.py that Modal uses, so that what a person installed wins (modal/mount.py).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trimtab.emulation.modal.clone import clone_file
from trimtab.errors import ToolMissingError
from trimtab.process import Command, ProcessRunner

PKG: Final = "/pkg"
DEPENDENCIES: Final = "/__modal/deps"
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The only version of Python that the laid-out packages are for: some hold compiled modules."""

_CLIENT: Final = ("modal", "synchronicity")
_LAYING_OUT: Final = threading.Lock()
_SITECUSTOMIZE: Final = f"import sys; sys.path.append({DEPENDENCIES!r})\n"


def folder_name() -> str:
    """Return what the folder of the client that is installed is called."""
    return f"{importlib.metadata.version('modal')}-{PYTHON}"


def lay_out_client(root: Path) -> Path:
    """Return a folder with `pkg` and `deps`, made once for each version of the client. Raises ToolMissingError."""
    folder = root / folder_name()
    with _LAYING_OUT:  # the first containers of a plane start side by side, in threads of one process
        return folder if folder.is_dir() else _lay_out(folder)


def _lay_out(folder: Path) -> Path:
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    for name in _CLIENT:
        _copy(name, new / "pkg")
    for name in _dependencies():
        _copy(name, new / "deps")
    (new / "pkg" / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    argv = (sys.executable, "-m", "compileall", "-q", "-j", "0", str(new))
    ProcessRunner().run(Command(argv=argv, hint=f"remove {new} and try again"))
    try:
        new.rename(folder)
    except OSError:  # another one was first
        shutil.rmtree(new)
    return folder


def _dependencies() -> Iterator[str]:
    """Yield the packages that Modal's newest image builder mounts: the list is in the client (modal/builder/*.txt)."""
    lists = [Path(str(file.locate())) for file in _files("modal") if re.search(r"builder/\d{4}\.\d\d\.txt$", str(file))]
    for line in max(lists).read_text().splitlines():
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if name is not None and name.group() != "async-timeout":  # for Python 3.10 and before only
            yield name.group()


def _copy(name: str, target: Path) -> None:
    for file in _files(name):
        if ".." not in file.parts and "__pycache__" not in file.parts:
            at = target / Path(file)
            at.parent.mkdir(parents=True, exist_ok=True)
            clone_file(Path(str(file.locate())), at)


def _files(name: str) -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolMissingError(
            f"the package {name} is not installed",
            why="Modal's client needs it inside of containers",
            remedy="run ./deploy.sh, which makes the environment whole, or: pip install 'trimtab[modal]'",
        ) from error
