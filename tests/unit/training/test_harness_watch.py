"""What a job uses: warned of once and in time, with the keys that help, and drawn over all attempts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.tiny_job import TinyRun
from training.harness.attempt import Hooks, run_job
from training.harness.gauges import Reading, gauges_of
from training.harness.watch import Samples, Watch
from training.harness.watch_chart import draw

GIB = 1024**3
CONFIG: dict[str, Any] = {
    "loader": {"workers": 8, "prefetch": 4},
    "optimisation": {"batch_size": 256, "epochs": 3},
    "checkpoints": {"keep_last": 5, "keep_best": 1, "keep_every_steps": None},
    "cache": {"decoded_mib": 4096, "name": "cache"},
}


def warnings_at(name: str, used: float) -> list[str]:
    said: list[str] = []
    reading = Reading(used_bytes=round(used * 16 * GIB), limit_bytes=16 * GIB)
    watch = Watch({name: lambda: reading}, CONFIG, said.append)
    for _ in range(3):
        watch.sample()
    return said


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("memory", "lower loader.workers (8) or loader.prefetch (4) or optimisation.batch_size (256)"),
        ("gpu", "lower optimisation.batch_size (256), or take a GPU with more memory"),
        ("disk", "lower checkpoints.keep_last (5) or checkpoints.keep_best (1)"),
    ],
)
def test_at_nine_tenths_one_warning_names_what_to_change(name: str, keys: str) -> None:
    (warning,) = warnings_at(name, 0.91)
    assert "91% full: 14.6 GiB of 16.0 GiB" in warning
    assert keys in warning
    assert [line.split(":")[0].strip() for line in warning.splitlines()] == ["warning", "why", "next"]
    assert warnings_at(name, 0.89) == []


def test_a_gauge_without_a_limit_or_without_a_reading_warns_of_nothing() -> None:
    said: list[str] = []
    watch = Watch(
        {"memory": lambda: Reading(used_bytes=GIB, limit_bytes=None), "gpu": lambda: None}, CONFIG, said.append
    )
    watch.sample()
    assert said == []
    assert watch.peaks == {"memory": GIB}
    assert watch.line == "memory 1.0 GiB"


def test_samples_stay_few_and_keep_their_peaks() -> None:
    samples = Samples(started="2026-03-01", every_s=1.0)
    for second in range(5000):
        used = 9 * GIB if second == 1234 else second
        samples.add(second, {"memory": Reading(used_bytes=used, limit_bytes=None), "gpu": None})
    content = samples.as_json()
    assert 100 < len(content["seconds"]) < 240
    assert len(content["used_bytes"]["memory"]) == len(content["seconds"])
    assert max(content["used_bytes"]["memory"]) == content["peak_bytes"]["memory"] == 9 * GIB
    assert "gpu" not in content["used_bytes"]
    assert content["every_s"] == 32.0


def test_every_attempt_is_in_the_record_and_in_the_chart(tmp_path: Path) -> None:
    tiny = TinyRun(folder=tmp_path, epochs=2)
    for steps in (3, 100):
        left = iter(range(steps))
        hooks = Hooks(stop=lambda left=left: next(left, None) is None)  # type: ignore[misc]  # a default binds it
        run_job(tiny.job(), config=tiny.config(), data=tmp_path / "data", results=tmp_path, run_id="r1", hooks=hooks)
    (path,) = tmp_path.glob("checkpoints/tiny/*/r1/watch.json")
    attempts = json.loads(path.read_bytes())["attempts"]
    assert len(attempts) == 2
    assert all(attempt["peak_bytes"]["memory"] > 10_000_000 for attempt in attempts)
    drawing = ET.fromstring(path.with_suffix(".svg").read_text())  # noqa: S314  # it is ours
    texts = [element.text or "" for element in drawing.iter() if element.tag.endswith("text")]
    assert any(text.startswith("memory, of the container or else the machine: peak") for text in texts)
    assert sum(element.tag.endswith("polyline") for element in drawing.iter()) >= 4


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "other/1", "attempts": [1]}'])
def test_a_record_that_cannot_be_read_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "watch.json").write_bytes(content)
    Watch({"memory": lambda: Reading(used_bytes=1, limit_bytes=2)}, CONFIG, lambda _: None).write(tmp_path)
    assert len(json.loads((tmp_path / "watch.json").read_bytes())["attempts"]) == 1


def test_a_limit_that_is_far_away_is_told_but_not_drawn() -> None:
    def drawn(limit: int) -> str:
        samples = Samples(started="2026-03-01", every_s=1.0)
        for second in range(3):
            samples.add(second, {"memory": Reading(used_bytes=GIB, limit_bytes=limit)})
        return draw([samples.as_json()])

    assert "peak 1.0 GiB of 64.0 GiB (2%)" in drawn(64 * GIB)
    assert "<title>limit</title>" not in drawn(64 * GIB)
    assert "<title>limit</title>" in drawn(GIB)


@pytest.mark.skipif(sys.platform != "linux", reason="the gauges read Linux's own files")
def test_the_gauges_read_this_machine(tmp_path: Path) -> None:
    readings = {name: gauge() for name, gauge in gauges_of(tmp_path / "not" / "there" / "yet").items()}
    memory, process = readings["memory"], readings["process"]
    assert memory is not None
    assert process is not None
    assert memory.limit_bytes is not None
    assert process.used_bytes > 10_000_000
    assert memory.used_bytes < memory.limit_bytes
    disk = gauges_of(tmp_path)["disk"]
    (tmp_path / "big").write_bytes(b"x" * 50_000_000)
    reading = disk()
    assert reading is not None
    assert reading.used_bytes >= 0
