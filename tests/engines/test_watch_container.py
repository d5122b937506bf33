"""The watch in a container with a limit, as a job on a rented machine has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.engine import BASE_IMAGE

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")
LIMIT_MIB = 192
PROGRAM = """
import json, pathlib
from training.harness.gauges import gauges_of
from training.harness.watch import Watch
said = []
def taken(mib):
    memory = bytearray(mib * 2**20)
    memory[::4096] = b"x" * (mib * 256)
    return memory
with Watch(gauges_of(pathlib.Path("/results")), {"loader": {"workers": 8}}, said.append, every_s=0.02) as watch:
    watch.sample()
    before = watch.peaks["memory"]
    much = taken(145)
    watch.sample()
    after = watch.peaks["memory"]
    warned_early = list(said)
    more = taken(25)
    watch.sample()
print(json.dumps({"before": before, "after": after, "line": watch.line, "said": said, "early": warned_early}))
"""


def test_the_limit_of_a_container_is_what_its_memory_is_held_against(engine: DockerClient, root: Path) -> None:
    output = engine.containers.run(
        BASE_IMAGE,
        ["python", "-c", PROGRAM],
        environment={"PYTHONPATH": "/code:/code/src", "PYTHONDONTWRITEBYTECODE": "1"},
        volumes={str(root): {"bind": "/code", "mode": "ro"}},
        mem_limit=LIMIT_MIB * 2**20,
        memswap_limit=LIMIT_MIB * 2**20,
        network_mode="none",
        remove=True,
    )
    found = json.loads(output)
    assert 0 < found["before"] < 100 * 2**20
    assert found["after"] > 145 * 2**20
    assert found["early"] == []
    assert found["line"].endswith(f"of {LIMIT_MIB:.1f} MiB")
    (warning,) = found["said"]
    assert warning.startswith("warning: memory is 9")
    assert "lower loader.workers (8), or take a machine with more memory" in warning
