"""Services as processes of this machine, with tiny models of known answers: answers, refusals, load, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks.services import load
from services.serving.app import create_app
from services.serving.manifest import read_manifest
from services.serving.settings import read_settings
from tests.support.serving import (
    CATALOGUE,
    HOSTILE,
    MULTIPART,
    ROOT,
    Hostile,
    ServiceProcess,
    assert_refused,
    free_port,
    multipart,
    picture,
    routes,
    running_service,
    service_settings,
    tiny_models,
)

pytestmark = pytest.mark.xdist_group("services")

MEMORY_LIMIT_BYTES = 420 * 1024 * 1024  # what the largest allowed pictures and eight full bodies may need together


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of tiny models, which lie beside it."""
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def service(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Return a running service that waits two seconds for a body."""
    with running_service(
        manifest, manifest.parent, tmp_path_factory.mktemp("service"), UPLOAD_TIMEOUT_S="2"
    ) as running:
        yield running


@pytest.fixture(scope="module", params=CATALOGUE.services)
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Each]:
    """Return each service of the catalogue in turn, with tiny models in the place of its own."""
    manifest = tiny_models(tmp_path_factory.mktemp("models"), like=request.param)
    with running_service(
        manifest, manifest.parent, tmp_path_factory.mktemp("service"), UPLOAD_TIMEOUT_S="2"
    ) as running:
        yield Each(service=running, routes=routes(request.param))


@dataclass(frozen=True, kw_only=True)
class Each:
    """A service, and the addresses at which it takes pictures."""

    service: ServiceProcess
    routes: tuple[str, ...]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_request_gets_a_4xx_in_json(each: Each, hostile: Hostile) -> None:
    assert_refused(hostile, hostile.send(each.service, each.routes[-1]))
    assert each.service.is_healthy()


def test_the_page_and_the_description_offer_what_the_manifest_does(each: Each) -> None:
    described = each.service.ask("GET", "/openapi.json").json()
    assert {path for path in described["paths"] if path.startswith("/v1/")} == set(each.routes)
    tasks = [route.removeprefix("/v1/") for route in each.routes]
    assert f'data-tasks="{" ".join(tasks)}"' in each.service.ask("GET", "/").body.decode()
    for missing in {"/v1/detect", "/v1/pose"} - set(each.routes):
        reply = each.service.post(missing, picture())
        assert (reply.status, reply.json()["error"]["code"]) == (404, "no_such_address")
        assert f"POST {each.routes[0]}, GET" in reply.json()["error"]["hint"]


def test_a_generator_of_requests_finds_nothing_against_the_description(each: Each, tmp_path: Path) -> None:
    finished = subprocess.run(
        [
            Path(sys.executable).with_name("st"), "run", f"http://127.0.0.1:{each.service.port}/openapi.json",
            "--max-examples", "25", "--seed", "1", "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.generated_pictures", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-1000:]
    assert "No issues found" in finished.stdout


def test_a_thousand_requests_of_32_clients_get_an_answer_or_503_and_no_memory_stays(each: Each) -> None:
    route, bodies = each.routes[-1], [multipart(picture(width=64 + index)) for index in range(32)]
    asyncio.run(load.run(each.service.port, route, bodies, requests=200, clients=32))
    before = each.service.metric("process_resident_memory_bytes")
    outcome = asyncio.run(load.run(each.service.port, route, bodies, requests=1000, clients=32))
    assert set(outcome.statuses) <= {200, 503}
    assert outcome.statuses[200] >= 1000
    assert outcome.retry_after_missing == 0
    assert each.service.metric("pictures_in_flight") == 0
    assert each.service.metric("process_resident_memory_bytes") < before + 16 * 1024 * 1024


def test_each_person_is_looked_at_by_the_second_model(tmp_path: Path) -> None:
    manifest = tiny_models(tmp_path, like="mmpose")
    with running_service(manifest, tmp_path, tmp_path) as top_down:
        with_a_dot = Image.new("RGB", (128, 64))
        with_a_dot.paste((255, 255, 255), (60, 30, 62, 32))
        buffer = io.BytesIO()
        with_a_dot.save(buffer, "PNG")
        (person,) = top_down.post("/v1/pose", buffer.getvalue(), query="?min_score=0.1").json()["persons"]
        assert person["box"] == [31.0, 15.5, 95.0, 47.5]
        assert person["score"] == pytest.approx(0.9 * 0.8, abs=1e-3)
        for point in person["keypoints"]:
            assert (point["x"], point["y"]) == (pytest.approx(61, abs=2), pytest.approx(31, abs=2))


def test_a_detection_comes_in_pixels_of_the_picture(service: ServiceProcess, manifest: Path) -> None:
    answer = service.post("/v1/detect", picture(width=128, height=64)).json()
    assert answer["picture"] == {"width": 128, "height": 64}
    assert answer["detections"] == [{"label": "person", "score": 0.9, "box": [31.0, 15.5, 95.0, 47.5]}]
    assert answer["model"] == {
        "name": "tiny-detector",
        "sha256": read_manifest(manifest).models["tiny-detector"].sha256,
    }
    assert set(answer["milliseconds"]) == {"picture", "model"}


def test_a_pose_has_seventeen_named_keypoints(service: ServiceProcess) -> None:
    (person,) = service.post("/v1/pose", picture(width=128, height=64)).json()["persons"]
    assert (person["label"], person["score"], person["box"]) == ("person", 0.8, [0, 0, 64, 64])
    assert len(person["keypoints"]) == 17
    assert person["keypoints"][0] == {"name": "nose", "x": 32.0, "y": 32.0, "score": 0.7}


def test_a_rotated_picture_is_answered_upright(service: ServiceProcess) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert service.post("/v1/detect", picture(exif=exif)).json()["picture"] == {"width": 64, "height": 128}


def test_the_caller_chooses_scores_and_results(service: ServiceProcess) -> None:
    assert service.post("/v1/detect", picture(), query="?min_score=0.95").json()["detections"] == []
    assert len(service.post("/v1/detect", picture(), query="?min_score=0").json()["detections"]) > 1
    assert len(service.post("/v1/detect", picture(), query="?min_score=0&max_results=1").json()["detections"]) == 1


def test_health_names_the_models_and_metrics_count(service: ServiceProcess) -> None:
    health = service.ask("GET", "/health").json()
    assert health["status"] == "healthy"
    assert [(model["name"], model["ready"], model["device"]) for model in health["models"]] == [
        ("tiny-detector", True, "cpu"),
        ("tiny-pose", True, "cpu"),
    ]
    service.post("/v1/pose", picture())
    metrics = service.ask("GET", "/metrics").body.decode()
    assert 'http_requests_total{method="POST",route="/v1/pose",status="200"}' in metrics
    assert 'model_seconds_count{model="tiny-pose"}' in metrics
    assert service.metric("pictures_in_flight") == 0
    assert service.metric("process_resident_memory_bytes") > 10_000_000


def test_the_image_s_health_check_says_by_its_exit_code(service: ServiceProcess) -> None:
    exit_codes = [
        subprocess.run(
            [sys.executable, "-m", "services.serving.healthcheck"],
            cwd=ROOT,
            env={**os.environ, "PORT": str(port)},
            check=False,
        ).returncode
        for port in (service.port, free_port())
    ]
    assert exit_codes == [0, 1]


def test_the_description_names_every_status_that_can_come(service: ServiceProcess) -> None:
    description = service.ask("GET", "/openapi.json").json()
    for path in ("/v1/detect", "/v1/pose"):
        operation = description["paths"][path]["post"]
        assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
        assert "multipart/form-data" in operation["requestBody"]["content"]


def test_after_all_hostile_requests_it_answers_and_its_memory_is_bounded(service: ServiceProcess) -> None:
    for hostile in HOSTILE:
        assert_refused(hostile, hostile.send(service, "/v1/detect"))
    large = [
        picture("PNG", width=5000, height=5000, mode="RGBA"),
        picture("JPEG", width=5000, height=5000, mode="CMYK"),
        picture("WEBP", width=3500, height=3500, lossless=True),
        picture("PNG", width=5000, height=5000, mode="I;16"),
    ]
    threads = [threading.Thread(target=service.post, args=("/v1/detect", content)) for content in large * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.post("/v1/detect", picture()).json()["detections"]) == 1
    assert service.peak_memory_bytes() < MEMORY_LIMIT_BYTES
    assert service.metric("pictures_in_flight") == 0


def test_the_log_is_json_and_tells_nothing_of_the_client(service: ServiceProcess) -> None:
    service.ask(
        "POST",
        "/v1/detect?min_score=0.1230000000001",
        body=multipart(picture(), file_name="holiday-with-anna.jpg"),
        headers={**MULTIPART, "Cookie": "secret=1", "User-Agent": "curious"},
    )
    service.ask("GET", "/wp-admin/unlikely-path")
    entries = service.log()
    assert "ready" in {entry["event"] for entry in entries}
    assert {"method", "route", "status", "milliseconds", "received_bytes"} <= set(entries[-1])
    text = service.output.read_text()
    for private in ("anna", "0.1230000000001", "secret", "curious", "unlikely-path"):
        assert private not in text


def test_more_requests_than_places_get_503_and_no_queue_grows(manifest: Path, tmp_path: Path) -> None:
    head = "\r\n".join(
        [
            "POST /v1/detect HTTP/1.1",
            "Host: x",
            f"Content-Type: {MULTIPART['Content-Type']}",
            "Content-Length: 999",
            "",
            "",
        ]
    ).encode()
    with (
        running_service(manifest, manifest.parent, tmp_path, MAX_REQUESTS_IN_FLIGHT="2", UPLOAD_TIMEOUT_S="20") as busy,
        contextlib.ExitStack() as waiting,
    ):
        for _ in range(2):
            slow = waiting.enter_context(socket.create_connection(("127.0.0.1", busy.port)))
            slow.sendall(head + b"--the-b")
        deadline = time.monotonic() + 10
        while busy.metric("pictures_in_flight") < 2:
            assert time.monotonic() < deadline
        reply = busy.post("/v1/detect", picture())
        assert (reply.status, reply.json()["error"]["code"]) == (503, "busy")
        assert int(reply.headers["retry-after"]) >= 1
        assert busy.is_healthy()
        waiting.close()
        while busy.metric("pictures_in_flight") > 0:
            assert time.monotonic() < deadline
        assert busy.post("/v1/detect", picture()).status == 200


def test_connections_that_say_nothing_are_closed_and_counted(manifest: Path, tmp_path: Path) -> None:
    with running_service(
        manifest, manifest.parent, tmp_path, HEADER_TIMEOUT_S="1", MAX_CONNECTIONS="3"
    ) as guarded, contextlib.ExitStack() as open_ones:  # fmt: skip
        silent = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", guarded.port), timeout=10)) for _ in range(3)
        ]
        silent[0].sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        reply = guarded.say(b"")
        assert (reply.status, reply.json()["error"]["code"]) == (503, "too_many_connections")
        for connection in silent:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        assert guarded.is_healthy()


def test_sigterm_lets_a_running_request_end_and_exits_0(manifest: Path, tmp_path: Path) -> None:
    body = multipart(picture())
    with (
        running_service(manifest, manifest.parent, tmp_path) as stopped,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", stopped.port, timeout=20)) as connection,
    ):
        connection.putrequest("POST", "/v1/detect")
        connection.putheader("Content-Type", MULTIPART["Content-Type"])
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:100])
        while stopped.metric("pictures_in_flight") < 1:
            time.sleep(0.02)
        stopped.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.send(body[100:])
        reply = connection.getresponse()
        assert (reply.status, len(json.load(reply)["detections"])) == (200, 1)
        assert stopped.process.wait(timeout=15) == 0


def started(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the service until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "services.serving"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_models_that_are_not_the_manifest_s_keep_it_from_starting(tmp_path: Path) -> None:
    manifest = tiny_models(tmp_path)
    (tmp_path / "tiny-pose.onnx").unlink()
    (tmp_path / "tiny-detector.onnx").write_bytes((tmp_path / "tiny-detector.onnx").read_bytes()[:-5])
    finished = started(service_settings(manifest, tmp_path, 0))
    assert finished.returncode == 2
    assert "tiny-detector.onnx: holds" in finished.stderr
    assert "tiny-pose.onnx: No such file" in finished.stderr
    assert "next: Fetch them again" in finished.stderr


@pytest.mark.parametrize(
    ("old", "new", "exit_code", "said"),
    [
        ('decoder = "nanodet"', 'decoder = "yolov99"', 2, "unknown decoder 'yolov99'"),
        ("width = 64", "width = 48", 7, "the manifest says one input float32 (1, 3, 64, 48)"),
        ('labels = ["person", "other"]', 'labels = ["person"]', 7, "among the outputs"),
    ],
)
def test_a_manifest_that_does_not_fit_keeps_it_from_starting(
    tmp_path: Path, old: str, new: str, exit_code: int, said: str
) -> None:
    manifest = tiny_models(tmp_path)
    manifest.write_text(manifest.read_text().replace(old, new))
    finished = started(service_settings(manifest, tmp_path, 0))
    assert finished.returncode == exit_code
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_wrong_setting_keeps_it_from_starting(manifest: Path) -> None:
    finished = started({**service_settings(manifest, manifest.parent, 0), "MAX_PIXELS": "lots"})
    assert finished.returncode == 2
    assert "MAX_PIXELS=lots" in finished.stderr


def test_until_the_models_are_loaded_it_says_that_it_starts(manifest: Path) -> None:
    settings = read_settings(service_settings(manifest, manifest.parent, 0))

    async def ask_before_the_start() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(read_manifest(manifest), settings, on_failed_start=lambda error: pytest.fail(str(error)))
        transport = httpx.ASGITransport(app=app)  # it does not run the lifespan, so no model is ever loaded
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get("/health"), await client.post("/v1/detect", files={"image": picture()})

    health, detect = asyncio.run(ask_before_the_start())
    assert (health.status_code, health.json()["status"]) == (503, "starting")
    assert {(model["ready"], model["device"]) for model in health.json()["models"]} == {(False, None)}
    assert (detect.status_code, detect.json()["error"]["code"]) == (503, "starting")
    assert health.headers["retry-after"] == detect.headers["retry-after"] == "1"


def test_the_runtime_reports_nothing_to_its_maker(manifest: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with running_service(manifest, manifest.parent, tmp_path, HOME=str(home), XDG_CACHE_HOME=str(home)):
        pass
    assert list(home.rglob("*")) == [], "onnxruntime's telemetry keeps a device id and a queue there when it is on"
