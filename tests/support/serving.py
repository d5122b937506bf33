"""A running service for the tests: tiny models of known answers, the real process on a free port, hostile requests.

The tiny models find what is known beforehand, so an answer can be compared to the pixel.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from services.serving.manifest import ModelInput, ModelSpec, read_manifest
from tests.support.exports import constant_export, dot_finder
from trimtab.catalogue import load_catalogue

ROOT = Path(__file__).resolve().parents[2]
BOUNDARY = "the-boundary"
START_TIMEOUT_S = 30.0

SLIM_MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072", "OPENBLAS_NUM_THREADS": "1"}
"""As the image sets it."""


# ---- tiny models ----

CATALOGUE = load_catalogue(ROOT / "trimtab.yaml")


def manifest_path(service: str) -> Path:
    """Return where a service of the catalogue describes its models."""
    return ROOT / "services" / service / "models.toml"


def routes(service: str) -> tuple[str, ...]:
    """Return the addresses that take pictures at a service of the catalogue."""
    return tuple(f"/v1/{task}" for task in sorted(read_manifest(manifest_path(service)).offered))


def tiny_models(directory: Path, *, like: str = "yolo-combined", ballast_bytes: int = 0) -> Path:
    """Write models that always find the same, for the tasks and in the manner of a service; return their manifest.

    A detector finds a `person` (0.9) at 16..48 x 16..48 of its 64 x 64 input. A pose model of whole pictures finds one
    person (0.8) in the left half of its 32 x 32 input, every keypoint (0.7) in the middle of that half. A pose model of
    crops puts every keypoint (0.8) on the brightest pixel of the crop. Each file carries so much ballast.
    """
    real = read_manifest(manifest_path(like))
    models = {"tiny-detector": (_DETECTOR, _tiny_detector())}
    if any(spec.crop is not None for spec in real.models.values()):
        models["tiny-pose"] = (
            _CROP_POSE,
            dot_finder(ModelSpec.model_validate(_CROP_POSE | _UNPINNED), batch=1, peak=0.8),
        )
    elif "pose" in real.offered:
        models["tiny-pose"] = (_POSE, _tiny_pose())
    if "detect" not in {spec.task for spec in real.models.values()}:
        del models["tiny-detector"]
    document = f'[packages.none]\nnpm = "none@1.0.0"\nintegrity = "sha512-{"A" * 86}=="\nbytes = 1\n'
    for name, (described, made) in models.items():
        file, export = f"{name}.onnx", made + _ballast(ballast_bytes)
        (directory / file).write_bytes(export)
        pinned = {
            "file": file, "key": f"models/{file}", "sha256": hashlib.sha256(export).hexdigest(), "bytes": len(export),
        }  # fmt: skip
        document += f"\n[models.{name}]\n" + "".join(
            f"{key} = {_toml(value)}\n" for key, value in {**_COMMON, **described, **pinned}.items()
        )
    manifest = directory / "models.toml"
    manifest.write_text(document)
    return manifest


def _ballast(size_bytes: int) -> bytes:
    """Return a field of so many bytes that no reader of ONNX knows, and so passes over."""
    return _varint((1000 << 3) | 2) + _varint(size_bytes) + bytes(size_bytes) if size_bytes else b""


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + _varint(number >> 7)


_COMMON: dict[str, Any] = {
    "min_score": 0.5, "overlap": 0.5, "licence": "MIT", "upstream": "none",
    "source": {"package": "none", "graph": "none", "weights": ("none",)},
}  # fmt: skip
_UNPINNED: dict[str, Any] = {**_COMMON, "file": "x.onnx", "key": "models/x.onnx", "sha256": "0" * 64, "bytes": 1}
_DETECTOR: dict[str, Any] = {
    "task": "detect", "decoder": "nanodet", "labels": ("person", "other"),
    "input": {
        "width": 64, "height": 64, "layout": "NCHW", "dtype": "float32", "colour": "RGB", "resize": "stretch",
    },
}  # fmt: skip
_POSE: dict[str, Any] = {
    "task": "pose", "decoder": "movenet-multipose", "labels": ("person",),
    "input": {"width": 32, "height": 32, "layout": "NHWC", "dtype": "int32", "colour": "RGB", "resize": "stretch"},
}  # fmt: skip
_CROP_POSE: dict[str, Any] = {
    "task": "pose", "decoder": "movenet-single", "labels": ("person",),
    "input": {"width": 32, "height": 32, "layout": "NHWC", "dtype": "float32", "colour": "RGB", "resize": "crop"},
    "crop": {"detector": "tiny-detector", "label": "person", "at_most": 5, "padding": 1.0},
}  # fmt: skip


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def _tiny_detector() -> bytes:
    outputs = {}
    for stride in (8, 16, 32):
        points = (64 // stride) ** 2
        outputs[f"scores{stride}"] = np.zeros((1, points, 2), np.float32)
        outputs[f"sides{stride}"] = np.zeros((1, points, 8), np.float32)
    # stride 32, point (0, 0) lies at 15.5: sides of -0.5 / 32.5 pixels are means over two bins of 0 and 32 pixels
    outputs["scores32"][0, 0, 0] = 0.9
    outputs["sides32"][0, 0] = [20, -20, 20, -20, -20, 20, -20, 20]  # left and top 0, right and bottom one stride
    return constant_export(ModelInput.model_validate(_DETECTOR["input"]), outputs)


def _tiny_pose() -> bytes:
    persons = np.zeros((1, 6, 56), np.float32)
    persons[0, 0, :51] = [0.5, 0.25, 0.7] * 17
    persons[0, 0, 51:] = [0.0, 0.0, 1.0, 0.5, 0.8]
    return constant_export(ModelInput.model_validate(_POSE["input"]), {"persons": persons})


# ---- a running service ----


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back: the status, the headers (lower case) and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Address:
    """A service that answers at a port of 127.0.0.1."""

    port: int

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
    ) -> Reply:
        """Send one request and return the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}), encode_chunked=chunked)
            return _reply(connection.getresponse())
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # the service answered before the body was sent, as a client may find out by writing
            response = http.client.HTTPResponse(connection.sock)
            response.begin()
            return _reply(response)
        finally:
            connection.close()

    def post(self, path: str, picture: bytes, *, query: str = "") -> Reply:
        """Send a picture as a browser does."""
        return self.ask("POST", path + query, body=multipart(picture), headers=MULTIPART)

    def say(self, request: bytes, *, timeout_s: float = 30.0) -> Reply:
        """Send raw bytes and read one reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as raw:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                raw.sendall(request)
            response = http.client.HTTPResponse(raw)
            response.begin()
            return _reply(response)

    def is_healthy(self) -> bool:
        """Ask once whether it is ready."""
        try:
            return self.ask("GET", "/health").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def metric(self, name: str) -> float:
        """Return a metric without labels."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def _reply(response: http.client.HTTPResponse) -> Reply:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(status=response.status, headers=headers, body=response.read())


@dataclass(slots=True, kw_only=True)
class ServiceProcess(Address):
    """The service as a process of this machine."""

    process: subprocess.Popen[str]
    output: Path = field(repr=False)

    def peak_memory_bytes(self) -> int:
        """Return the most memory that was ever resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def log(self) -> list[dict[str, Any]]:
        """Return what it has said so far."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@contextlib.contextmanager
def running_service(manifest: Path, models: Path, directory: Path, **settings: str) -> Iterator[ServiceProcess]:
    """Start the service and wait until it is healthy; stop it at the end."""
    port = free_port()
    output = directory / f"service-{port}.log"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.serving"],
            cwd=ROOT,
            env={**os.environ, **SLIM_MEMORY, **service_settings(manifest, models, port), **settings},
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )
    service = ServiceProcess(port=port, process=process, output=output)
    try:
        wait_until_healthy(service, lambda: process.poll() is None)
        yield service
    finally:
        process.terminate()
        process.wait(timeout=20)


def service_settings(manifest: Path, models: Path, port: int) -> dict[str, str]:
    """Return the environment that names a manifest, its models and a port."""
    return {"MODELS_MANIFEST": str(manifest), "MODELS_DIR": str(models), "PORT": str(port)}


def wait_until_healthy(address: Address, lives: Callable[[], bool]) -> None:
    """Ask until the service is ready; fails when it ended or took too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not address.is_healthy():
        assert lives(), "the service ended before it was healthy"
        assert time.monotonic() < deadline, f"the service was not healthy within {START_TIMEOUT_S} s"
        time.sleep(0.1)


# ---- requests ----

MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def multipart(content: bytes, *, name: str = "image", file_name: str = "picture.jpg", more: bytes = b"") -> bytes:
    """Return a body of one part, and more parts after it."""
    return (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + content + b"\r\n" + more + f"--{BOUNDARY}--\r\n".encode()  # fmt: skip


def picture(kind: str = "JPEG", *, width: int = 128, height: int = 64, mode: str = "RGB", **options: Any) -> bytes:
    """Return the bytes of a plain picture."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """A request that must be refused: how it is sent to a route, and the statuses that are right for it."""

    name: str
    send: Callable[[Address, str], Reply]
    statuses: tuple[int, ...]


def _body(name: str, content: bytes, *statuses: int, headers: Mapping[str, str] = MULTIPART, **how: Any) -> Hostile:
    return Hostile(
        name=name,
        send=lambda address, route: address.ask("POST", route, body=content, headers=headers, **how),
        statuses=statuses,
    )


def _picture(name: str, content: bytes, *statuses: int) -> Hostile:
    return _body(name, multipart(content), *statuses)


def _raw(name: str, request: bytes, *statuses: int) -> Hostile:
    return Hostile(
        name=name,
        send=lambda address, route: address.say(request.replace(b"{route}", route.encode())),
        statuses=statuses,
    )


def _query(name: str, query: str) -> Hostile:
    return Hostile(name=name, send=lambda address, route: address.post(route, picture(), query=query), statuses=(422,))


def _two_hundred_megabytes(address: Address, route: str, *, chunked: bool) -> Reply:
    megabyte = bytes(1024 * 1024)
    start = multipart(b"").split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    headers = dict(MULTIPART)
    headers["Transfer-Encoding" if chunked else "Content-Length"] = "chunked" if chunked else str(200 * len(megabyte))
    pieces = (start if index == 0 else megabyte for index in range(200))
    return address.ask("POST", route, body=pieces, headers=headers, chunked=chunked)


def _raw_post(body: bytes, *headers: str) -> bytes:
    lines = ["POST {route} HTTP/1.1", "Host: x", f"Content-Type: {MULTIPART['Content-Type']}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


_PART = multipart(picture()).split(b"--the-boundary--")[0]
_JPEG = picture(width=400, height=400)
_PROGRESSIVE = picture(progressive=True)
_LAST_SCAN = _PROGRESSIVE.rindex(b"\xff\xda")
_PNG = picture("PNG")
_BMP_OF_24_MEGAPIXELS = struct.pack("<2sIHHI", b"BM", 60, 0, 0, 54) + struct.pack(
    "<IiiHHIIiiII", 40, 6000, 4000, 1, 24, 0, 0, 0, 0, 0, 0
)

HOSTILE: tuple[Hostile, ...] = (
    _body("empty body", b"", 400),
    _body("no content type", b"x", 415, headers={}),
    _body("json", b'{"image": "http://169.254.169.254/"}', 415, headers={"Content-Type": "application/json"}),
    _body("no boundary", multipart(_JPEG), 400, headers={"Content-Type": "multipart/form-data"}),
    _body("another boundary", multipart(_JPEG), 400, headers={"Content-Type": "multipart/form-data; boundary=other"}),
    _body("body cut", multipart(_JPEG)[:-30], 400),
    _body("gzipped body", zlib.compress(multipart(_JPEG)), 400, headers={**MULTIPART, "Content-Encoding": "gzip"}),
    _body("wrong field", multipart(_JPEG, name="photo"), 422),
    _body("an address to fetch", multipart(b"http://169.254.169.254/latest/meta-data", name="url"), 422),
    _body("two pictures", multipart(_JPEG, more=_PART), 422),
    _body("a thousand parts", multipart(_JPEG, more=_PART * 1000), 413, 422),
    _body("a thousand empty parts", b"--the-boundary\r\n\r\n\r\n" * 1000 + b"--the-boundary--\r\n", 400, 422),
    _body("giant part header", multipart(_JPEG, file_name="x" * 1_000_000), 400),
    _picture("empty picture", b"", 422),
    _picture("text", b"this is not a picture", 415),
    _picture("svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 415),
    _picture("gif", picture("GIF"), 415),
    _picture("tiff", picture("TIFF"), 415),
    _picture("truncated jpeg", _JPEG[:-200], 422),
    _picture("truncated png", _PNG[:60], 415, 422),
    _picture("png of no size", b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)),
             415, 422),
    _picture("png of 100 megapixels", picture("PNG", width=10_000, height=10_000, mode="1"), 413),
    _picture("webp of 25 megapixels", picture("WEBP", width=5000, height=5000, quality=1), 413),
    _picture("bmp that promises 24 megapixels", _BMP_OF_24_MEGAPIXELS, 422),
    _picture("png with text bombs", _PNG[:33] + png_chunk(b"zTXt", b"c\0\0" + zlib.compress(b"a" * 900_000)) * 50
             + _PNG[33:], 415, 422),
    _picture("jpeg of 1000 scans", _PROGRESSIVE[:-2] + _PROGRESSIVE[_LAST_SCAN:-2] * 1000, 422),
    _body("file name that climbs", multipart(b"x", file_name="../../../../etc/passwd"), 415),
    Hostile(name="200 MB declared", send=lambda a, r: _two_hundred_megabytes(a, r, chunked=False), statuses=(413,)),
    Hostile(name="200 MB in chunks", send=lambda a, r: _two_hundred_megabytes(a, r, chunked=True), statuses=(413,)),
    _query("min_score nan", "?min_score=nan"),
    _query("min_score infinite", "?min_score=inf"),
    _query("min_score of 2", "?min_score=2"),
    _query("max_results negative", "?max_results=-1"),
    _query("max_results huge", "?max_results=1000000000000000000000"),
    _query("unknown parameter", "?minscore=0.5"),
    _query("parameter of zeros", "?min_score=%00"),
    Hostile(name="wrong method", send=lambda a, r: a.ask("DELETE", r), statuses=(405,)),
    Hostile(name="no such address", send=lambda a, _: a.ask("GET", "/%2e%2e/%2e%2e/etc/passwd"), statuses=(404,)),
    _raw("not http", b"\x16\x03\x01\x02\x00 hello\r\n\r\n", 400),
    _raw("giant header", b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n", 400),
    _raw("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
    _raw("two lengths", _raw_post(b"", "Content-Length: 5", "Content-Length: 6"), 400),
    _raw("negative length", _raw_post(b"", "Content-Length: -5"), 400),
    _raw("length too small", _raw_post(multipart(_JPEG), "Content-Length: 50"), 400),
    _raw("chunk of no size", _raw_post(b"zz\r\nhello\r\n", "Transfer-Encoding: chunked"), 400),
    _raw("length too large, body never comes", _raw_post(b"--the-boundary\r\n", "Content-Length: 1000"), 408),
)  # fmt: skip
"""Every one must get a 4xx with the JSON of an error. The last needs a short UPLOAD_TIMEOUT_S."""


def assert_refused(hostile: Hostile, reply: Reply) -> None:
    """Check the form of a refusal: the status, and an error in three parts."""
    assert reply.status in hostile.statuses, (reply.status, reply.body)
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert all(isinstance(value, str) and value for value in error.values())


# ---- real models, real pictures ----


def real_models() -> Path:
    """Return the directory of the demo's real models, fetched once; skips where they cannot be had."""
    directory = ROOT / ".trimtab" / "cache" / "models"
    finished = subprocess.run(
        [sys.executable, "-m", "services.model_zoo", "fetch", "--out", directory],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode in (3, 4):
        pytest.skip(f"the real models cannot be had: {finished.stderr.splitlines()[0]}")
    assert finished.returncode == 0, finished.stderr
    return directory


def photograph(name: str) -> bytes:
    """Return one of scikit-image's pictures (astronaut, coffee, chelsea) as PNG."""
    return (Path(skimage.data.__file__).parent / f"{name}.png").read_bytes()


def labels(reply: Reply) -> list[str]:
    """Return the labels of a detection, best first."""
    return [found["label"] for found in reply.json()["detections"]]
