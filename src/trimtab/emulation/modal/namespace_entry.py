"""The program over one attempt without a Docker engine: makes its namespaces and its root, starts it, and tells.

`python -m trimtab.emulation.modal.namespace_entry SPEC` reads what to make from SPEC and the attempt's environment from
TRIMTAB_ATTEMPT. It forks: the child becomes the first process of its own namespaces, so that whatever it starts ends
with it. On standard error it tells, a JSON document a line: the child's process id, its output, how it ended.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trimtab.emulation.modal.mounts import (
    BIND,
    NO_DEVICES,
    NO_SUID,
    PRIVATE,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    change_root,
    die_with_parent,
    mount,
    unshare,
)

_NEW_MOUNTS: Final = 0x00020000
_NEW_IPC: Final = 0x08000000
_NEW_PIDS: Final = 0x20000000
_NEW_NETWORK: Final = 0x40000000
_SET_FLAGS: Final = 0x8914  # SIOCSIFFLAGS
_IS_UP: Final = 1
_OF_THE_SYSTEM: Final = ("bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr")


def main(spec_path: Path) -> int:
    """Run the attempt to its end."""
    what = json.loads(spec_path.read_text())
    environment = json.loads(os.environ.pop("TRIMTAB_ATTEMPT"))
    arguments = (spec_path.parent / "arguments.bin").read_bytes()
    die_with_parent()  # the plane's thread that waits for us: a plane that is killed leaves nothing running
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the desk is the plane's to pass on
    unshare(_NEW_MOUNTS | _NEW_IPC | _NEW_PIDS | (_NEW_NETWORK if what["block_network"] else 0))
    mount("none", Path("/"), None, RECURSIVE | PRIVATE)
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        for reader, _ in pipes:
            os.close(reader)
        _become_the_attempt(what, environment, arguments, [writer for _, writer in pipes])
    for _, writer in pipes:
        os.close(writer)
    _tell("pid", child)
    _pass_on({pipes[0][0]: "stdout", pipes[1][0]: "stderr"})
    _, status = os.waitpid(child, 0)
    _tell("end", os.waitstatus_to_exitcode(status))
    return 0


def _become_the_attempt(
    what: Mapping[str, Any], environment: Mapping[str, str], arguments: bytes, outputs: list[int]
) -> None:
    """Make the root, step into it, and be the entry point; this does not return."""
    try:
        die_with_parent()
        _make_root(Path(what["root"]), what, arguments)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if what["memory_bytes"]:
            resource.setrlimit(resource.RLIMIT_DATA, (what["memory_bytes"], what["memory_bytes"]))
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (outputs[0], 1), (outputs[1], 2)):
            os.dup2(source, target)
        if what["block_network"]:
            _raise_loopback()
            _wait_for(what["ports"])
        os.chdir(what["workdir"])
        os.execve(what["argv"][0], what["argv"], {**environment, "HOME": "/root", "LANG": "C.UTF-8"})  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - a fork of ours must never go on as if it were its parent
        os.write(outputs[1], f"the attempt could not be started: {error}\n".encode())
    os._exit(1)


def _make_root(root: Path, what: Mapping[str, Any], arguments: bytes) -> None:
    """Make a root in memory, with this system's programs read-only, and step into it."""
    root.mkdir()
    mount("tmpfs", root, "tmpfs", NO_SUID | NO_DEVICES, "mode=755")
    for name in _OF_THE_SYSTEM:
        here = Path("/", name)
        if here.is_symlink():
            (root / name).symlink_to(here.readlink())
        elif here.is_dir():
            _bind(here, root / name, read_only=True)
    for folder in what["python"]:
        if not any(Path(folder).is_relative_to(Path("/", name)) for name in _OF_THE_SYSTEM):
            _bind(Path(folder), root / folder.lstrip("/"), read_only=True)
    for name in ("proc", "dev", "tmp", "root", "run", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    mount("/dev", root / "dev", None, BIND | RECURSIVE)
    mount("proc", root / "proc", "proc", NO_SUID | NO_DEVICES)
    for bind in what["binds"]:
        _bind(Path(bind["source"]), root / bind["path"].lstrip("/"), read_only=bind["read_only"])
    for file in what["files"]:
        _write(root / file["path"].lstrip("/"), Path(file["content"]).read_bytes(), file["mode"])
    _write(root / what["arguments_path"].lstrip("/"), arguments, 0o600)
    change_root(root)


def _bind(source: Path, target: Path, *, read_only: bool) -> None:
    target.mkdir(parents=True, exist_ok=True)
    mount(str(source), target, None, BIND | RECURSIVE)
    if read_only:
        mount("none", target, None, BIND | REMOUNT | READ_ONLY | NO_SUID | NO_DEVICES)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _raise_loopback() -> None:
    """Switch 127.0.0.1 on: in a new network namespace it is off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", b"lo", _IS_UP))


def _wait_for(ports: list[int]) -> None:
    """Wait until the plane's ports answer inside: its side opens them once it knows this process."""
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.01)


def _pass_on(names: dict[int, str]) -> None:
    decoders = {reader: codecs.getincrementaldecoder("utf-8")(errors="replace") for reader in names}
    with selectors.DefaultSelector() as open_pipes:
        for reader in names:
            open_pipes.register(reader, selectors.EVENT_READ)
        while open_pipes.get_map():
            for key, _ in open_pipes.select():
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    open_pipes.unregister(key.fd)
                    continue
                _tell(names[key.fd], decoders[key.fd].decode(chunk))


def _tell(kind: str, value: object) -> None:
    sys.stderr.write(f"{json.dumps({'kind': kind, 'value': value})}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
