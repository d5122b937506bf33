"""The two questions before a service serves: what counts as healthy, and as the right answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.answering import Answer, answering
from tests.support.catalogues import catalogue
from trimtab.catalogue import Golden
from trimtab.errors import HealthError
from trimtab.images.golden import HttpDoor, ask_golden, wait_until_healthy

GOLDEN = catalogue(services__gulls__golden__expect={"gull": 2, "tern": 0}).services["gulls"].golden


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Give the folder in which the golden picture lies."""
    path = tmp_path / GOLDEN.picture
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a picture of two gulls")
    return tmp_path


def wait(address: str, *, within_s: float = 0.5) -> None:
    wait_until_healthy(HttpDoor(address), within_s=within_s, is_running=lambda: True)


def test_healthy_is_status_200_and_the_word(picture: Path) -> None:
    with answering(
        lambda path, _: Answer(200, b'{"status": "healthy"}') if path == "/health" else Answer(404, b"")
    ) as at:
        wait(at)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b'{"status": "unhealthy"}'),
        Answer(200, b'{"status": "HEALTHY"}'),
        Answer(200, b'{"status": ["healthy"]}'),
        Answer(200, b'{"status": true}'),
        Answer(200, b'"healthy"'),
        Answer(200, b'["healthy"]'),
        Answer(200, b"healthy"),
        Answer(200, b""),
        Answer(200, b"{}"),
        Answer(201, b'{"status": "healthy"}'),
        Answer(503, b'{"status": "healthy"}'),
        Answer(500, b"\xff\xfe"),
    ],
)
def test_nothing_less_is_healthy(answer: Answer) -> None:
    with answering(lambda *_: answer) as at, pytest.raises(HealthError, match="is not healthy after") as caught:
        wait(at)
    assert caught.value.exit_code == 7
    assert "/health" in caught.value.why


def test_a_service_may_take_its_time_to_become_healthy() -> None:
    ready_s = time.monotonic() + 0.5

    def answer(_path: str, _content: bytes) -> Answer:
        return Answer(200, b'{"status": "%s"}' % (b"healthy" if time.monotonic() > ready_s else b"starting"))

    with answering(answer) as at:
        wait(at, within_s=10)


def test_nobody_there_is_told_as_such() -> None:
    with pytest.raises(HealthError) as caught:
        wait("http://127.0.0.1:9", within_s=0.3)
    assert "did not answer" in caught.value.why
    assert "refused" in caught.value.why


def test_a_service_that_ended_is_not_waited_for() -> None:
    started = time.monotonic()
    with pytest.raises(HealthError, match="ended before it was healthy"):
        wait_until_healthy(HttpDoor("http://127.0.0.1:9"), within_s=30, is_running=lambda: False)
    assert time.monotonic() - started < 2


def test_a_service_that_never_answers_is_given_no_more_than_its_time() -> None:
    started = time.monotonic()
    with answering(lambda *_: Answer(200, b'{"status": "healthy"}', after_s=1.5)) as at:
        with pytest.raises(HealthError):
            wait(at, within_s=0.5)
        assert time.monotonic() - started < 1.4


def ask(picture: Path, answer: Answer, golden: Golden = GOLDEN) -> Any:
    posted: list[tuple[str, bytes]] = []

    def reply(path: str, content: bytes) -> Answer:
        posted.append((path, content))
        return answer

    with answering(reply) as at:
        found = ask_golden(HttpDoor(at), golden, root=picture)
    ((path, content),) = posted
    assert path == golden.post
    assert b'name="image"; filename="golden.jpg"' in content
    assert b"a picture of two gulls" in content
    return found


def detections(*labels: str) -> bytes:
    return json.dumps({"detections": [{"label": label} for label in labels]}).encode()


def test_the_right_answer_is_kept_with_its_time(picture: Path) -> None:
    found = ask(picture, Answer(200, detections("gull", "gull", "boat")))
    assert [item["label"] for item in found.document["detections"]] == ["gull", "gull", "boat"]
    assert found.picture == picture / GOLDEN.picture
    assert 0 < found.milliseconds < 5000


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (("gull",), "gull: expected 2, found 1"),
        (("gull",) * 3, "gull: expected 2, found 3"),
        ((), "gull: expected 2, found 0"),
        (("gull", "gull", "tern"), "tern: expected 0, found 1"),
        (("tern",), "gull: expected 2, found 0; tern: expected 0, found 1"),
    ],
)
def test_too_few_and_too_many_are_both_wrong(picture: Path, labels: tuple[str, ...], why: str) -> None:
    with pytest.raises(HealthError, match="gave a wrong answer to the golden request") as caught:
        ask(picture, Answer(200, detections(*labels)))
    assert caught.value.why == why
    assert caught.value.exit_code == 7


def test_the_right_answer_with_a_status_of_failure_is_wrong(picture: Path) -> None:
    with pytest.raises(HealthError, match="wrong answer") as caught:
        ask(picture, Answer(500, detections("gull", "gull")))
    assert caught.value.why == "status 500"


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"null", b"{}", b'{"detections": null}', b'{"detections": [3]}', b'{"detections": [{}]}'],
)
def test_an_answer_of_another_shape_is_shown_as_it_came(picture: Path, body: bytes) -> None:
    with pytest.raises(HealthError, match="did not answer the golden request") as caught:
        ask(picture, Answer(422, body))
    assert caught.value.why == f"it answered 422: {body.decode()}"


def test_nobody_there_to_ask_is_told_as_such(picture: Path) -> None:
    with pytest.raises(HealthError, match="did not answer the golden request") as caught:
        ask_golden(HttpDoor("http://127.0.0.1:9"), GOLDEN, root=picture)
    assert "refused" in caught.value.why
