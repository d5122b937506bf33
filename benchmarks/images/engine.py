# ruff: noqa: INP001, S607 - beside a script that is run by its path; docker and ip come from PATH
"""A Docker engine for one measurement: a fresh data-root on a file system of its own, the base image and no more.

The data-root is an ext4 file, mounted: what is in use there is the engine's alone, and is read from two counters as
often as one likes. Needs root. All is taken back at the end: the engine by its process, the mount, the bridge.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

PERIOD_S = 0.05
BRIDGE = f"bench{os.getpid()}"
SUBNET = f"10.213.{os.getpid() % 250}.0/24"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine: its address and the mounted data-root."""

    host: str
    data_root: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which `docker` speaks to it."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}

    def docker(self, *arguments: str) -> str:
        """Run docker on it and return its output. Raises CalledProcessError."""
        return subprocess.run(
            ["docker", *arguments], env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def used_bytes(self) -> int:
        """Return the bytes in use on its file system."""
        found = os.statvfs(self.data_root)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


@dataclass(slots=True)
class Sampled:
    """Seconds since the start and used bytes, twenty times a second from `with` to its end."""

    engine: Engine
    samples: list[tuple[float, int]] = field(default_factory=list)
    _began: float = field(default=0.0, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self) -> None:
        while True:
            self.samples.append((time.monotonic() - self._began, self.engine.used_bytes()))
            if self._stop.wait(PERIOD_S):
                return


@contextlib.contextmanager
def fresh_engine(base_image: str, size_gib: int) -> Iterator[Engine]:
    """Give a new engine on a sparse file of this size, with the base image of this machine's own engine in it."""
    with (
        tempfile.TemporaryDirectory(prefix="trimtab-bench-", dir="/var/tmp") as name,
        contextlib.ExitStack() as later,
    ):  # on a disk: /tmp may be memory
        folder = Path(name)
        saved = folder / "base.tar"
        run("docker", "save", "--output", str(saved), base_image)
        disk, mount = folder / "disk", folder / "data"
        mount.mkdir()
        with disk.open("wb") as file:
            file.truncate(size_gib << 30)
        run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(disk))
        run("mount", "-o", "loop", str(disk), str(mount))
        later.callback(run, "umount", "--lazy", str(mount))
        later.enter_context(_bridge())
        engine = Engine(host=f"unix://{folder}/docker.sock", data_root=mount)
        later.enter_context(_running(engine, folder))
        engine.docker("load", "--input", str(saved))
        saved.unlink()
        os.sync()
        yield engine


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run a registry on loopback that keeps its blobs in a folder, and give its address. Debian: docker-registry."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        raise SystemExit("no registry program: apt-get install docker-registry")
    port = 5077
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/blobs}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(settings)], stdout=log, stderr=log)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _running(engine: Engine, folder: Path) -> Iterator[None]:
    log = (folder / "dockerd.log").open("wb")
    process = subprocess.Popen(
        [
            "dockerd", "--host", engine.host, "--data-root", str(engine.data_root), "--exec-root", str(folder / "exec"),
            "--pidfile", str(folder / "pid"), "--bridge", BRIDGE, "--iptables=false", "--ip6tables=false",
        ],
        stdout=log,
        stderr=log,
    )  # fmt: skip
    try:
        for _ in range(300):
            asked = subprocess.run(["docker", "version"], env=engine.environment, capture_output=True, check=False)
            if asked.returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"the engine did not start: {(folder / 'dockerd.log').read_text()[-2000:]}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()
        for namespace in (folder / "exec" / "netns").glob("*"):  # of a build that was cut off
            subprocess.run(["umount", "--lazy", str(namespace)], check=False, capture_output=True)


@contextlib.contextmanager
def _bridge() -> Iterator[None]:
    """Make a bridge whose containers reach what this machine reaches."""
    rules = (
        ("-t", "nat", "POSTROUTING", "-s", SUBNET, "!", "-o", BRIDGE, "-j", "MASQUERADE"),
        ("-t", "filter", "FORWARD", "-i", BRIDGE, "-j", "ACCEPT"),
        ("-t", "filter", "FORWARD", "-o", BRIDGE, "-j", "ACCEPT"),
    )
    with contextlib.ExitStack() as later:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        later.callback(run, "ip", "link", "delete", BRIDGE)
        run("ip", "address", "add", SUBNET.replace("0/", "1/"), "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for table, name, chain, *rule in rules:
            run("iptables", table, name, "-I", chain, *rule)
            later.callback(run, "iptables", table, name, "-D", chain, *rule)
        yield


def run(*argv: str) -> None:
    """Run a program quietly. Raises CalledProcessError."""
    subprocess.run(argv, check=True, capture_output=True)
