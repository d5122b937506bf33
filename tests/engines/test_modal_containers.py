"""What an attempt gets and what it cannot reach, in containers and in namespaces: buckets, Volumes, code, network."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harbour import BUCKET, DATA, Harbour, harbour
from tests.support.modal_plane import ModalPlane, embedded_modal
from trimtab.emulation.modal import bucket_mount, namespaces
from trimtab.emulation.modal.images import LABEL
from trimtab.images.engine import ENGINE_REMEDY, connect_or_none

pytestmark = [
    pytest.mark.xdist_group("engine"),
    pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing())),
]
APPS = Path(__file__).parent / "modal_apps"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with harbour(tmp_path_factory.mktemp("aws")) as running:
        running.put(f"{DATA}tide.txt", b"high at noon")
        running.put("models/weights.onnx", b"of a service")
        yield running


@pytest.fixture(scope="module", params=["docker", "namespace"])
def plane(
    request: pytest.FixtureRequest, stack: Harbour, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModalPlane]:
    if request.param == "docker" and connect_or_none() is None:
        pytest.skip(f"no Docker engine answers: {ENGINE_REMEDY}")
    if request.param == "namespace" and namespaces.missing() is not None:
        pytest.skip(str(namespaces.missing()))
    folder = tmp_path_factory.mktemp(request.param)
    with embedded_modal(folder, aws_state_dir=stack.aws.state_dir, runner=request.param) as running:
        running.env.update(HARBOUR_ROLE=stack.role_arn, HARBOUR_BUCKET=BUCKET)
        running.cli("deploy", APPS / "harbour.py")
        before = built_images()
        yield running
    for image_id in built_images() - before:
        engine = connect_or_none()
        assert engine is not None
        engine.images.remove(image_id, force=True)


def built_images() -> set[str]:
    engine = connect_or_none()
    found = engine.images.list(filters={"label": LABEL}) if engine is not None else []
    return {str(image.id) for image in found}


def call(plane: ModalPlane, name: str, *words: str) -> object:
    arguments = ", ".join(map(json.dumps, words))
    return plane.python(f"answer = modal.Function.from_name('harbour', '{name}').remote({arguments})")


def test_a_bucket_is_read_with_the_mount_s_role_and_denied_inside_where_that_may_not(plane: ModalPlane) -> None:
    assert call(plane, "reads") == ["high at noon", "PermissionError", "PermissionError", "Read-only file system"]


def test_the_code_and_data_of_another_app_cannot_be_read(plane: ModalPlane) -> None:
    call(plane, "keeps", "sunken-treasure")
    other = plane.cwd / "pirates.py"
    other.write_text((APPS / "harbour.py").read_text().replace('modal.App("harbour")', 'modal.App("pirates")'))
    # An app of its own, without the Volume, looks for the other's secret, and for a word of the other's code.
    script = f"""
import runpy
found = runpy.run_path({str(other)!r})
with found["app"].run():
    answer = found["looks"].remote("sunken-" + "treasure", 'modal.App("har' + 'bour")')
"""
    assert plane.python(script) == []


def test_a_function_without_network_reaches_nothing_but_the_plane(plane: ModalPlane) -> None:
    assert call(plane, "is_cut_off") == "Network is unreachable"


def test_a_gpu_that_is_not_there_is_said_and_the_function_runs(plane: ModalPlane) -> None:
    limits = call(plane, "asks")
    assert "there is no GPU here" in plane.cli("app", "logs", "harbour")
    if plane.running.runner == "docker":
        assert limits == [str(512 * 1024 * 1024)]


def test_a_python_that_cannot_be_had_is_said(plane: ModalPlane) -> None:
    if plane.running.runner != "docker":
        pytest.skip("no image is built without an engine, which is said instead")
    app = plane.cwd / "older.py"
    app.write_text(
        "import modal\napp = modal.App('older')\n"
        "@app.function(image=modal.Image.debian_slim(python_version='3.12'))\ndef f() -> None: ...\n"
    )
    output = plane.cli("run", app, code=1)
    assert "Python 3.12 cannot be had here" in output
    assert "python_version=" in output


def test_an_image_is_built_as_it_was_sent_and_once(plane: ModalPlane) -> None:
    if plane.running.runner != "docker":
        pytest.skip("no image is built without an engine, which is said instead")
    (plane.cwd / "chart.txt").write_text(f"here be dragons {uuid.uuid4()}")  # the engine remembers other suites' builds
    app = plane.cwd / "charted.py"
    app.write_text(
        "import modal\napp = modal.App('charted')\n"
        f"image = (modal.Image.debian_slim(python_version='3.11')\n"
        f"    .add_local_file({str(plane.cwd / 'chart.txt')!r}, '/charts/chart.txt', copy=True)\n"
        "    .run_commands('cat /charts/chart.txt > /charts/copy.txt', 'echo told $TOLD',\n"
        "        secrets=[modal.Secret.from_dict({'TOLD': 'a-secret'})])\n"
        "    .env({'CHARTS': '/charts'}))\n"
        "@app.function(image=image)\ndef f():\n"
        "    import os\n    print('read:', open(os.environ['CHARTS'] + '/copy.txt').read())\n"
    )
    first = plane.cli("run", app)
    assert "read: here be dragons" in first
    assert "told ***" in first
    again = plane.cli("run", app)
    assert "read: here be dragons" in again
    assert "told ***" not in again
