"""What attempts see and do not see: the harbour's app, with a Volume, two bucket mounts, and an image of its own."""

import os
from pathlib import Path

import modal

app = modal.App("harbour")
logbook = modal.Volume.from_name("harbour-logbook", create_if_missing=True)
ROLE = os.environ.get("HARBOUR_ROLE", "arn:aws:iam::123456789012:role/nobody")
BUCKET = os.environ.get("HARBOUR_BUCKET", "harbour-charts-dev")


def mount(prefix: str) -> modal.CloudBucketMount:
    return modal.CloudBucketMount(BUCKET, key_prefix=prefix, oidc_auth_role_arn=ROLE, read_only=True)


@app.function(volumes={"/own": mount("datasets/tides/"), "/foreign": mount("models/")})
def reads() -> list[object]:
    found: list[object] = [Path("/own/tide.txt").read_text()]
    for look in (lambda: list(Path("/foreign").iterdir()), lambda: Path("/foreign/weights.onnx").read_bytes()):
        try:
            found.append(len(look()))
        except OSError as error:
            found.append(type(error).__name__)
    try:
        Path("/own/new").write_text("x")
    except OSError as error:
        found.append(error.strerror)
    return found


@app.function(volumes={"/logbook": logbook})
def keeps(word: str) -> None:
    Path("/logbook/secret.txt").write_text(word)
    logbook.commit()


@app.function()
def looks(*needles: str) -> list[str]:
    """Return where any of these words stands in a file that this container can read."""
    found = []
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if Path(folder, name) not in (Path("/proc"), Path("/sys"), Path("/dev"))]
        for name in names:
            path = Path(folder, name)
            try:
                content = path.read_bytes() if path.is_file() and path.stat().st_size < 200_000 else b""
            except OSError:
                continue
            found += [f"{path}: {needle}" for needle in needles if needle.encode() in content]
    return found


@app.function(block_network=True)
def is_cut_off() -> str:
    import socket

    try:
        socket.create_connection(("192.0.2.1", 80), timeout=2)
    except OSError as error:
        return str(error.strerror)
    return "connected"


@app.function(gpu="H100:2", cpu=(0.5, 1.0), memory=(128, 512))
def asks() -> list[str]:
    return [Path(path).read_text().strip() for path in _LIMITS if Path(path).exists()]


_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
