"""A machine to release to over SSH: a real sshd on loopback with keys of its own, before a second Docker engine.

The engine has its own data, containers and networks; only the kernel is shared with this machine. `ssh` on the PATH is
the system's client with a configuration of the test's own, so that nobody's ~/.ssh is read or written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.engine import free_port

HOST = "vm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """The machine: the socket of its engine, and the folder with what reaches it."""

    socket: str
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program must have in its environment to reach it as HOST."""
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def forget_its_key(self) -> None:
        """Let the client know no host."""
        (self.folder / "known_hosts").write_text("")

    def know_its_key(self) -> None:
        """Let the client know the machine's key, as a person who compared it would."""
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"{HOST} {key}")


@contextmanager
def virtual_machine(folder: Path) -> Iterator[Vm]:
    """Start it; skip the test, with the reason, where that is not possible."""
    missing = [name for name in ("sshd", "ssh", "ssh-keygen", "dockerd", "ip") if _program(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"a VM takes root and {', '.join(missing) or 'nothing else'}: sudo scripts/setup-sshd")
    with _bridge() as bridge, _engine(folder, bridge) as socket, _sshd(folder, socket):
        vm = Vm(socket=socket, folder=folder)
        vm.know_its_key()
        yield vm


@contextmanager
def _bridge() -> Iterator[str]:
    """Make the bridge of the engine's default network; without one of its own it would take away the machine's."""
    name = f"vm{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", f"10.250.{os.getpid() % 250}.1/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


@contextmanager
def _engine(folder: Path, bridge: str) -> Iterator[str]:
    socket = f"unix://{folder}/docker.sock"
    argv = (
        "dockerd",
        "--host", socket,
        "--data-root", str(folder / "data"),
        "--exec-root", str(folder / "exec"),
        "--pidfile", str(folder / "docker.pid"),
        "--containerd-namespace", f"vm-{os.getpid()}",
        "--containerd-plugins-namespace", f"vm-plugins-{os.getpid()}",
        "--bridge", bridge,
    )  # fmt: skip
    with (folder / "dockerd.log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            _wait_for(lambda: _answers(socket), process, folder / "dockerd.log")
            yield socket
        finally:
            process.terminate()
            process.wait(60)
            for mount in _mounts_below(folder):
                subprocess.run(["umount", mount], check=False)


@contextmanager
def _sshd(folder: Path, socket: str) -> Iterator[None]:
    port = free_port()
    for name in ("host_key", "user_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a test's", "-f", str(folder / name)], check=True
        )
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv DOCKER_HOST={socket}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host {HOST}\n  HostName 127.0.0.1\n  HostKeyAlias {HOST}\n  Port {port}\n  User root\n"
        f"  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        "  GlobalKnownHostsFile none\n"
    )
    client = folder / "bin" / "ssh"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec {_program("ssh")} -F {folder}/ssh_config "$@"\n')
    client.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)  # where it has no rights: its own rule
    argv = (str(_program("sshd")), "-D", "-e", "-f", str(folder / "sshd_config"))
    with (folder / "sshd.log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            time.sleep(0.3)
            yield
        finally:
            process.terminate()
            process.wait(20)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _answers(socket: str) -> bool:
    return subprocess.run(["docker", "--host", socket, "version"], capture_output=True, check=False).returncode == 0


def _wait_for(is_there: object, process: subprocess.Popen[bytes], log: Path) -> None:
    assert callable(is_there)
    deadline_s = time.monotonic() + 60
    while not is_there():
        if process.poll() is not None or time.monotonic() > deadline_s:
            pytest.skip(f"a second engine does not start here: {log.read_text()[-500:]}")
        time.sleep(0.2)


def _mounts_below(folder: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.startswith(str(folder))), reverse=True)
