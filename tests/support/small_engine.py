"""A Docker engine of a test's own, on a small disk of its own: a loop-mounted ext4 file as data-root.

It shares nothing with the machine's engine but the base image, which is copied into it. Needs root, loop devices and
iptables; where they lack, the test skips with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.engine import BASE_IMAGE
from trimtab.disk.meter import free_bytes, used_bytes

if TYPE_CHECKING:
    from docker import DockerClient

_START_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallEngine:
    """The engine's address for DOCKER_HOST, a client of it, and its disk."""

    host: str
    client: DockerClient
    data_root: Path

    @property
    def used_bytes(self) -> int:
        """What is written on its disk now."""
        os.sync()
        return used_bytes((self.data_root,))

    @contextmanager
    def room_of(self, size_bytes: int) -> Iterator[None]:
        """Leave so many bytes free on its disk, and no more, inside the block."""
        os.sync()
        ballast = self.data_root / "ballast"
        try:
            self.fill(ballast, free_bytes(self.data_root) - size_bytes)
            yield
        finally:
            ballast.unlink(missing_ok=True)

    def fill(self, file: Path, size_bytes: int) -> None:
        """Take so many bytes of its disk with a file."""
        with file.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, size_bytes)


@contextmanager
def small_engine(size_bytes: int) -> Iterator[SmallEngine]:
    """Give an engine on a new disk of this size that holds the base image and nothing else."""
    _require_means()
    import docker

    with ExitStack() as later:
        folder = Path(later.enter_context(tempfile.TemporaryDirectory(prefix="small-engine-", dir="/var/tmp")))
        data_root = folder / "data"
        _mount(folder / "disk", data_root, size_bytes, later)
        host = f"unix://{folder}/docker.sock"
        _start(folder, data_root, host, _bridge(later), later)
        client = docker.DockerClient(base_url=host, timeout=60)
        later.callback(client.close)
        later.callback(_empty, client)
        _copy_base(client)
        yield SmallEngine(host=host, client=client, data_root=data_root)


def _require_means() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may start an engine on a disk of its own")
    for program in ("dockerd", "mkfs.ext4", "ip", "iptables"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: an engine of its own needs it")


def _mount(disk: Path, place: Path, size_bytes: int, later: ExitStack) -> None:
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(disk))
    argv = ("mount", "-o", "loop", str(disk), str(place))
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no loop device: {mounted.stderr.strip()}")
    later.callback(_run, "umount", str(place))


def _bridge(later: ExitStack) -> str:
    """Make a bridge whose containers reach what this machine reaches; return its name."""
    name, subnet = f"small{os.getpid()}"[:15], f"10.251.{os.getpid() % 250}"
    _run("ip", "link", "add", name, "type", "bridge")
    later.callback(_run, "ip", "link", "delete", name)
    _run("ip", "address", "add", f"{subnet}.1/24", "dev", name)
    _run("ip", "link", "set", name, "up")
    for table, chain, *rule in (
        ("nat", "POSTROUTING", "-s", f"{subnet}.0/24", "!", "-o", name, "-j", "MASQUERADE"),
        ("filter", "FORWARD", "-i", name, "-j", "ACCEPT"),
        ("filter", "FORWARD", "-o", name, "-j", "ACCEPT"),
        # the networks that its projects make: what stays within one of them
        ("filter", "FORWARD", "-m", "physdev", "--physdev-is-bridged", "-j", "ACCEPT"),
    ):
        _run("iptables", "-w", "-t", table, "-I", chain, *rule)
        later.callback(_run, "iptables", "-w", "-t", table, "-D", chain, *rule)
    return name


def _start(folder: Path, data_root: Path, host: str, bridge: str, later: ExitStack) -> None:
    log = later.enter_context((folder / "log").open("wb"))
    argv = (
        "dockerd", "--host", host, "--data-root", str(data_root), "--exec-root", str(folder / "exec"),
        "--pidfile", str(folder / "pid"), "--bridge", bridge, "--iptables=false", "--ip6tables=false",
    )  # fmt: skip
    process = subprocess.Popen(argv, stdout=log, stderr=log)
    later.callback(process.wait, timeout=60)
    later.callback(process.terminate)
    deadline = time.monotonic() + _START_S
    while subprocess.run(("docker", "--host", host, "version"), capture_output=True, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"no second engine starts here: {(folder / 'log').read_text()[-500:]}")
        time.sleep(0.1)


def _empty(client: DockerClient) -> None:
    """Take away what its networks are on this machine: their bridges would outlive it, and their addresses run out."""
    for container in client.containers.list(all=True, ignore_removed=True):
        container.remove(force=True)
    client.networks.prune()


def _copy_base(client: DockerClient) -> None:
    """Stream the base image over, unpacked as it comes: a copy by save and load would need its room twice."""
    from tests.support.engine import require_engine

    image = require_engine().images.get(BASE_IMAGE)
    container = require_engine().containers.create(image)
    try:
        changes = [f"ENV {entry}" for entry in image.attrs["Config"]["Env"]]
        name, _, tag = BASE_IMAGE.rpartition(":")
        client.api.import_image_from_stream(container.export(), repository=name, tag=tag, changes=changes)
    finally:
        container.remove()


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
