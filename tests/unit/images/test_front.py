"""The program in the front: its record, its answers, and what it does when HAProxy does not play along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.front import front
from tests.support.answering import Answer, answering
from tests.support.catalogues import catalogue
from trimtab.images.container import limits_environment
from trimtab.images.record import Record

ROOT = Path(__file__).resolve().parents[3]
LIVE = {"live": {"number": 7, "target": "127.0.0.1:8000"}, "releases": []}


def call(folder: Path, *words: str, haproxy: str = "/bin/true") -> tuple[int, dict[str, Any]]:
    """Run the program as the container does, on folders of the test's own."""
    run = folder / "run"
    run.mkdir(exist_ok=True)
    env = {**os.environ, "FRONT_STATE": str(folder), "FRONT_RUN": str(run), "FRONT_HAPROXY": haproxy}
    argv = (sys.executable, str(ROOT / "deploy" / "front" / "front.py"), *words)
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, json.loads(ended.stdout)


def test_before_the_first_release_there_is_an_empty_record(tmp_path: Path) -> None:
    code, answer = call(tmp_path, "state")
    assert (code, answer) == (0, {"record": {"live": None, "releases": []}, "in_force": None})


def test_a_configuration_that_haproxy_refuses_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    code, answer = call(tmp_path, "switch", json.dumps(LIVE), haproxy="/bin/false")
    assert code == 1
    assert "HAProxy refuses the configuration" in answer["failed"]
    assert not (tmp_path / "releases.json").exists()


def test_a_name_that_nobody_knows_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    record = {"live": {"number": 8, "target": "nobody.invalid:8000"}, "releases": []}
    code, answer = call(tmp_path, "switch", json.dumps(record))
    assert code == 1
    assert "gaierror" in answer["failed"]
    assert not (tmp_path / "releases.json").exists()


@pytest.mark.parametrize("words", [(), ("sing",), ("switch",), ("switch", "no json"), ("switch", "{}"), ("drain", "x")])
def test_what_it_does_not_understand_is_said_with_1(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, answer = call(tmp_path, *words)
    assert code == 1
    assert set(answer) == {"failed"}


def test_it_asks_as_a_client_does(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"a picture")
    asked: list[tuple[str, bytes]] = []

    def reply(path: str, content: bytes) -> Answer:
        asked.append((path, content))
        return Answer(418, b"\xff tea")

    with answering(reply) as at:
        assert call(tmp_path, "ask", "GET", f"{at}/health", "5")[1]["status"] == 418
        code, answer = call(tmp_path, "ask", "POST", f"{at}/v1/x", "5", "image/x", "upload")
    assert (code, answer["status"], answer["text"]) == (0, 418, "\ufffd tea")
    assert asked == [("/health", b""), ("/v1/x", b"a picture")]


def test_nobody_there_is_an_answer_and_no_failure(tmp_path: Path) -> None:
    code, answer = call(tmp_path, "ask", "GET", "http://127.0.0.1:9/health", "1")
    assert code == 0
    assert "refused" in answer["error"]


def test_every_error_of_the_front_s_own_has_the_form_of_a_service_s() -> None:
    lines = front.configuration(LIVE).splitlines()
    errors = [line for line in lines if "http-error status" in line]
    assert len(errors) == 6
    for line in errors:
        body = json.loads(line.split("'")[1])
        assert set(body["error"]) == {"code", "message", "hint"}
        assert "'" not in line.split("'", 1)[1].rsplit("'", 1)[0]  # it would end the string


def test_without_a_release_every_request_is_answered_503() -> None:
    text = front.configuration(Record().document(target=None))
    assert "http-request return status 503" in text
    assert "backend" not in text


def test_the_limits_of_the_catalogue_go_to_the_container() -> None:
    limits = {"body": "2MiB", "pixels": 1000, "results": 3, "in_flight": 2, "upload": "1500ms"}
    assert limits_environment(catalogue(services__gulls__limits=limits).services["gulls"].limits) == {
        "MAX_BODY_BYTES": "2097152",
        "MAX_PIXELS": "1000",
        "MAX_RESULTS": "3",
        "MAX_REQUESTS_IN_FLIGHT": "2",
        "UPLOAD_TIMEOUT_S": "1.5",
    }
