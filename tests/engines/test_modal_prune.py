"""What the embedded Modal holds is told, and what nothing needs goes: never what is deployed, runs, or is a Volume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import BASE_IMAGE, require_engine
from tests.support.modal_plane import ModalPlane, embedded_modal, wait_until
from trimtab.emulation.modal import control, namespaces
from trimtab.emulation.modal.images import DockerImages
from trimtab.emulation.modal.place import plane_name
from trimtab.emulation.modal.pruning import prune_at_rest

pytestmark = pytest.mark.xdist_group("engine")

needs_namespaces = pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))
DAY_S = 24 * 3600.0
APP = """
import modal
app = modal.App("holds")
volume = modal.Volume.from_name("holds-data", create_if_missing=True)

@app.function()
def big(size):
    return b"\\x07" * size

@app.function()
def waits(seconds):
    import time
    print("waiting")
    time.sleep(seconds)
    return "waited"

@app.cls()
class Counter:
    @modal.method()
    def add(self, number):
        return number + 1

@app.function(volumes={"/data": volume})
def writes():
    open("/data/kept", "w").write("kept")
    volume.commit()

@app.local_entrypoint()
def main():
    print(len(big.remote(3_000_000)))
"""
CALLS = """
f = modal.Function.from_name("holds", "big")
call = f.spawn(4_000_000)
waiting = modal.Function.from_name("holds", "waits").spawn(2)
answer = [call.object_id, len(call.get()), waiting.object_id]
"""
STILL = """
answer = [
    modal.Cls.from_name("holds", "Counter")().add.remote(1),
    "".join(map(bytes.decode, modal.Volume.from_name("holds-data").read_file("kept"))),
]
"""


def files(plane: ModalPlane, name: str) -> set[str]:
    return {path.name for path in (plane.running.state_dir / name).iterdir()}


def prune(plane: ModalPlane, *, older_s: float, dry_run: bool = False) -> dict[str, object]:
    """Prune a plane that is down, as if everything had been sent a while ago."""
    return prune_at_rest(plane.running.state_dir, None, older_s=older_s, dry_run=dry_run, sending_s=0)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    """Give a plane with something deployed, something that only ran, and a call that is remembered."""
    with embedded_modal(tmp_path_factory.mktemp("holds"), runner="namespace") as running:
        app = running.cwd / "holds.py"
        app.write_text(APP)
        running.cli("deploy", app)
        running.python("answer = modal.Function.from_name('holds', 'writes').remote()")
        app.write_text(f"# another version\n{APP}")
        assert "3000000" in running.cli("run", app)
        yield running


@needs_namespaces
def test_what_is_held_is_told_and_pruning_takes_nothing_from_a_call_that_runs(plane: ModalPlane) -> None:
    _, _, waiting = plane.python(CALLS)
    holds = plane.running.ask("holdings")
    assert holds["bytes"]["blobs"] >= 7_000_000
    assert [volume["name"] for volume in holds["volumes"]] == ["holds-data"]
    assert holds["prunable"]["files"] == 0  # all of it is younger than a week
    plane.running.ask("prune", {"older_s": 0, "dry_run": False})
    code = f"{STILL}\nanswer.append(modal.FunctionCall.from_id('{waiting}').get(timeout=60))"
    assert plane.python(code) == [2, "kept", "waited"]


@needs_namespaces
def test_what_nothing_needs_goes_and_all_else_works_on(plane: ModalPlane) -> None:
    call, size, waiting = plane.python(CALLS)
    plane.python(f"answer = modal.FunctionCall.from_id('{waiting}').get(timeout=60)")
    (plane.running.state_dir / "client" / "0.0-3.11").mkdir(parents=True)
    control.stop(plane.running.state_dir)
    blobs = files(plane, "blobs")
    foreseen = prune(plane, older_s=0, dry_run=True)
    assert files(plane, "blobs") == blobs
    first = prune(plane, older_s=DAY_S)
    assert first["calls"] == 0  # they are remembered, and so is what they name
    plane.restart()
    assert plane.python(f"answer = len(modal.FunctionCall.from_id('{call}').get())") == size
    control.stop(plane.running.state_dir)
    last = prune(plane, older_s=0)
    assert {name: last[name] for name in ("calls", "lines", "definitions")} == {
        name: foreseen[name] for name in ("calls", "lines", "definitions")
    }
    assert files(plane, "blobs") == set()
    assert len(files(plane, "files")) == 1  # of the app that is deployed
    assert "0.0-3.11" not in files(plane, "client")
    assert prune(plane, older_s=0)["bytes"] == 0
    plane.restart()
    assert plane.python(STILL) == [2, "kept"]
    assert [app["name"] for app in plane.record()["apps"]] == ["holds"]
    assert plane.running.ask("holdings")["prunable"]["definitions"] == 0


KILLED = """
import sys
from pathlib import Path
from trimtab.emulation.modal.place import plane_name
from trimtab.emulation.modal.pruning import prune_at_rest
prune_at_rest(Path(sys.argv[1]), None, older_s=0, dry_run=False, sending_s=0)
"""


@needs_namespaces
def test_what_a_killed_pruning_left_goes_with_the_next(plane: ModalPlane) -> None:
    control.stop(plane.running.state_dir)
    blobs = plane.running.state_dir / "blobs"
    for number in range(5_000):
        (blobs / f"bl-{number:022}").touch()
    with subprocess.Popen((sys.executable, "-c", KILLED, plane.running.state_dir)) as process:
        wait_until(lambda: len(list(blobs.iterdir())) < 5_000)
        process.kill()
    left = len(list(blobs.iterdir()))
    assert 0 < left < 5_000
    assert prune(plane, older_s=0)["files"] == left
    assert list(blobs.iterdir()) == []


IMAGE = """
import modal
app = modal.App("{name}")
image = modal.Image.debian_slim(python_version="3.11").run_commands("head -c 2000000 /dev/urandom > /{name}")

@app.function(image=image)
def here():
    import os
    return os.path.getsize("/{name}")

@app.local_entrypoint()
def main():
    print(here.remote())
"""


def test_an_image_goes_when_no_app_needs_it_and_is_built_again_when_one_does(tmp_path: Path) -> None:
    engine = require_engine()

    def built() -> dict[str, int]:
        images = DockerImages(plane.running.state_dir, BASE_IMAGE)
        return {image.reference: image.own_bytes for image in images.holdings(())}

    with embedded_modal(tmp_path, runner="docker") as plane:
        for name in ("stays", "goes"):
            (tmp_path / f"{name}.py").write_text(IMAGE.format(name=f"{name}{tmp_path.stat().st_ino}"))
        plane.cli("deploy", tmp_path / "stays.py")
        (stays,) = built()
        plane.cli("run", tmp_path / "goes.py")
        (goes,) = built().keys() - {stays}
        wait_until(lambda: [app["state"] for app in plane.record()["apps"]] == ["deployed", "stopped"])
        try:
            theirs = f"{goes.rpartition('-')[0]}-{plane_name(tmp_path)}"  # of a plane that needs the same image
            engine.images.get(goes).tag(theirs)
            control.stop(plane.running.state_dir)
            images = DockerImages(plane.running.state_dir, BASE_IMAGE)
            words = {"older_s": 0.0, "sending_s": 0.0}
            assert prune_at_rest(plane.running.state_dir, images, dry_run=True, **words)["images"] == [
                {"name": goes, "bytes": 0}  # the other plane holds it
            ]
            engine.images.remove(theirs)
            gone = prune_at_rest(plane.running.state_dir, images, dry_run=False, **words)["images"]
            assert [image["name"] for image in gone] == [goes]
            assert 2_000_000 <= gone[0]["bytes"] < 3_000_000
            assert built().keys() == {stays}
            plane.restart()
            assert "2000000" in plane.cli("run", tmp_path / "goes.py")
            assert built().keys() == {stays, goes}
        finally:
            for reference in built():
                engine.images.remove(reference, force=True)


def test_the_command_prunes_at_rest_and_says_what_there_is_to_say(root: Path, tmp_path: Path) -> None:
    def trimtab(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "TRIMTAB_ROOT": str(root), "TRIMTAB_STATE": str(tmp_path)}
        argv = (sys.executable, "-m", "trimtab", "modal", *words)
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    never = trimtab("prune")
    assert (never.returncode, "no embedded Modal ever ran" in never.stderr) == (2, True)
    assert trimtab("prune", "--older", "a week").returncode == 2
    with embedded_modal(tmp_path, runner="auto") as plane:
        assert json.loads(trimtab("prune", "--dry-run", "--json").stdout)["dry_run"] is True
        assert "all is needed" in trimtab("status").stdout
        control.stop(plane.running.state_dir)
        done = trimtab("prune", "--older", "0s")
        assert "removed 0 calls with their results" in done.stdout, done.stderr
