"""Images on a disk that is just large enough: everything builds, is released and serves there; the usual way does not.

The engine is one of our own on a loop-mounted disk. Room is measured in the house's own terms: B is what the base image
takes, d what a service's image adds to it, and d is the same for all services as they share a base.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import argv_of, environment
from tests.support.engine import ROOT, free_port
from tests.support.models_bucket import ModelsBucket
from tests.support.serving import tiny_models
from tests.support.small_engine import SmallEngine, small_engine
from trimtab.catalogue import load_catalogue
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.disk.meter import free_bytes
from trimtab.executor import Executor, RunRecord
from trimtab.images.estimate import read_declared
from trimtab.images.golden import HttpDoor
from trimtab.images.weights import read_weights
from trimtab.process import ProcessRunner
from trimtab.project import Project
from trimtab.steps.fit import fit
from trimtab.steps.plans import ImagesWanted, images_plan
from trimtab.steps.provision import Provision
from trimtab.steps.service import Serve, ServiceHandler
from trimtab.steps.weights import PublishWeights
from trimtab.steps.wiring import handlers, watched
from trimtab.units import GIB, MIB

pytestmark = pytest.mark.xdist_group("engine")

WANTED = ImagesWanted(services=(), variant="cpu", release=True)
SIZES = tomllib.loads((ROOT / "services" / "sizes-cpu.toml").read_text())
ROOM = round(1.3 * SIZES["base"]["kept_bytes"])  # the base image is on the disk already: B is taken
_MB = 1_000_000
_BALLAST = 2 * MIB


class Standing:
    """A handler of what this test has done by itself: the models lie in a bucket of its own."""

    def preflight(self, _action: object) -> None:
        """Refuse nothing."""

    def finished(self, _action: object) -> Mapping[str, Any]:
        """Say that it stands."""
        return {}

    def run(self, _action: object, _say: object) -> Mapping[str, Any]:
        raise AssertionError("it stands already")


@pytest.fixture(scope="module")
def small() -> Iterator[SmallEngine]:
    """Give the engine, and have everything in this module use it."""
    with small_engine(2 * GIB) as engine:
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = engine.host
        try:
            yield engine
        finally:
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give this repository's services under another name, on free ports, with tiny models that always find a person."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "services", root / "services", ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copytree(ROOT / "deploy" / "front", root / "deploy" / "front")
    document = yaml.safe_load((ROOT / "trimtab.yaml").read_text())
    document["project"] = "small-harbour"
    (root / ".trimtab").mkdir()
    for name, service in document["services"].items():
        service["port"] = free_port()
        service["golden"]["expect"] = {"person": 1}
        picture = root / service["golden"]["picture"]
        picture.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / service["golden"]["picture"], picture)
        made = root / "made" / name
        made.mkdir(parents=True)
        # every service's files have the same names: they get their own
        manifest = tiny_models(made, like=name, ballast_bytes=_BALLAST)
        text = manifest.read_text().replace('file = "', f'file = "{name}-').replace('"models/', f'"models/{name}-')
        (root / "services" / name / "models.toml").write_text(text)
        for model in made.glob("*.onnx"):
            model.rename(root / "made" / f"{name}-{model.name}")
    (root / "trimtab.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    path = root / "trimtab.yaml"
    return Project(root=root, catalogue_path=path, catalogue=load_catalogue(path), state=root / ".trimtab")


def bucket_of(project: Project) -> ModelsBucket:
    """Return a bucket with the tiny models under the keys that the manifests pin."""
    pinned = {weights for name in project.catalogue.services for weights in read_weights(project.root, name)}
    return ModelsBucket({weights.key: (project.root / "made" / weights.file).read_bytes() for weights in pinned})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """How the services came to serve in the room that there was."""

    need_bytes: int
    peak_bytes: int
    record: RunRecord


@pytest.fixture(scope="module")
def deployed(small: SmallEngine, project: Project) -> Deployed:
    """Deploy every service in just enough room."""
    runner = ProcessRunner()
    carrying: dict[type[Any], Any] = {
        **handlers(project, runner),
        Provision: Standing(),
        PublishWeights: Standing(),
        Serve: ServiceHandler(project, runner, bucket_of(project)),
    }
    ledger = Ledger(project.state / "ledger.jsonl")
    executor = Executor(carrying, ledger=ledger, console=Console(), watched=watched(project))
    plan = images_plan(project.catalogue, {}, read_declared(project.root, project.catalogue), WANTED)
    with small.room_of(ROOM):
        fitted = fit(plan.without({"engine", "provision"}), project.catalogue.budgets, watched(project), jobs=1)
        before = small.used_bytes
        record = executor.run(plan, run="r1", keep_going=True)
    peak = max(used for _, used in record.disk) if record.disk else before
    return Deployed(need_bytes=fitted.left.on(("engine",)).peak_bytes, peak_bytes=peak, record=record)


def trimtab(project: Project, small: SmallEngine, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv_of(*words),
        cwd=project.root,
        env=environment(DOCKER_HOST=small.host),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_all_serve(project: Project) -> None:
    for name, service in project.catalogue.services.items():
        answer = HttpDoor(f"http://127.0.0.1:{service.port}").ask("/health", timeout_s=5)
        assert json.loads(answer.text)["status"] == "healthy", name


def debris(small: SmallEngine) -> dict[str, list[str]]:
    """Return what a failed build may leave: candidates, images without a name, cache, containers that stand."""
    images = small.client.images.list()
    return {
        "candidates": [tag for image in images for tag in image.tags if tag.endswith("-candidate")],
        "nameless": [str(image.id) for image in images if not image.tags],
        "cache": [record["ID"] for record in small.client.df()["BuildCache"] or () if record["Size"] > MIB],
        "containers": [str(c.name) for c in small.client.containers.list(all=True) if c.status != "running"],
    }


CLEAN: dict[str, list[str]] = {"candidates": [], "nameless": [], "cache": [], "containers": []}


@pytest.fixture
def changed_base(project: Project) -> Iterator[None]:
    """Have the base, and so every image, to build anew."""
    dockerfile = project.root / "services" / "base" / "install.py"
    before = dockerfile.read_text()
    dockerfile.write_text(f"{before}# another base\n")
    yield
    dockerfile.write_text(before)


def test_all_services_build_are_released_and_serve_where_there_is_just_enough_room(
    deployed: Deployed, project: Project, small: SmallEngine
) -> None:
    assert deployed.record.failures == ()
    assert {o.step.name: o.outcome for o in deployed.record.outcomes if o.step.name.startswith("serve:")} == {
        f"serve:{name}:cpu": "done" for name in project.catalogue.services
    }
    assert deployed.need_bytes <= ROOM
    assert_all_serve(project)
    assert debris(small) == CLEAN


def test_no_release_takes_more_of_the_disk_than_was_predicted_nor_much_less(deployed: Deployed) -> None:
    for outcome in deployed.record.outcomes:
        if outcome.step.name.startswith("serve:"):
            assert outcome.measured is not None
            predicted, measured = outcome.step.predicted, outcome.measured
            assert predicted.peak_bytes / 1.5 <= measured.peak_bytes <= predicted.peak_bytes, outcome.step.name
            assert measured.kept_bytes > _BALLAST


def test_a_second_run_builds_nothing(deployed: Deployed, project: Project, small: SmallEngine) -> None:
    assert deployed.record.failures == ()
    process = trimtab(project, small, "images", "build", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert {step["outcome"] for step in json.loads(out)["steps"]} == {"already done"}


@pytest.mark.usefixtures("deployed", "changed_base")
@pytest.mark.parametrize("words", [("images", "plan"), ("images", "build")], ids=["plan", "build"])
def test_100_mb_below_the_need_is_refused_and_nothing_is_written(
    project: Project, small: SmallEngine, words: tuple[str, ...]
) -> None:
    process = trimtab(project, small, "images", "plan", "--json")
    need = json.loads(process.communicate(timeout=60)[0])["peak_bytes"]
    state = sorted((path, path.stat().st_mtime_ns) for path in project.state.rglob("*"))
    images = sorted(str(image.id) for image in small.client.images.list())
    with small.room_of(need - 100 * _MB):
        before = small.used_bytes
        process = trimtab(project, small, *words, "--json")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 6, err
        assert small.used_bytes == before
    assert sorted((path, path.stat().st_mtime_ns) for path in project.state.rglob("*")) == state
    assert sorted(str(image.id) for image in small.client.images.list()) == images
    error = json.loads(out)["error"]
    assert "nothing was written" in error["what"]
    assert "trimtab disk free --need 9" in error["next"]  # 95.4 MiB are 100 MB
    assert_all_serve(project)


@pytest.mark.usefixtures("deployed", "changed_base")
def test_a_disk_that_is_filled_from_outside_in_mid_build_costs_only_that_build(
    project: Project, small: SmallEngine
) -> None:
    before = debris(small)
    images = sorted(str(image.id) for image in small.client.images.list())
    flood = small.data_root / "flood"
    said = []
    try:
        with trimtab(project, small, "images", "build", "--jobs", "1") as process:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if "install.py" in line and "RUN" in line:
                    small.fill(flood, free_bytes(small.data_root) - 8 * MIB)
        assert process.returncode == 6, "".join(said)
        assert_all_serve(project)
    finally:
        flood.unlink(missing_ok=True)
    text = "".join(said)
    assert "the disk is full" in text
    assert "at its peak it took" in text
    assert "install.py" in text.split("at its peak it took")[1]
    assert debris(small) == before == CLEAN
    assert sorted(str(image.id) for image in small.client.images.list()) == images
    assert_all_serve(project)


@pytest.mark.usefixtures("deployed", "changed_base")
def test_ctrl_c_in_mid_build_leaves_nothing_behind(project: Project, small: SmallEngine) -> None:
    images = sorted(str(image.id) for image in small.client.images.list())
    with trimtab(project, small, "images", "build") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "install.py" in line and "RUN" in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert debris(small) == CLEAN
    assert sorted(str(image.id) for image in small.client.images.list()) == images
    assert_all_serve(project)


@pytest.mark.usefixtures("deployed")
def test_the_usual_way_ends_in_a_full_disk_there(project: Project, small: SmallEngine, tmp_path: Path) -> None:
    """Each image installs what it needs by itself, all at once, and is kept."""
    shutil.copy(project.root / "services" / "requirements-cpu.lock", tmp_path)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {project.catalogue.base_image}\nARG SERVICE\nCOPY requirements-cpu.lock /\n"
        "RUN echo ${SERVICE} && python -m pip install --quiet --no-cache-dir --break-system-packages"
        " --requirement /requirements-cpu.lock\n"
    )

    def build(name: str) -> subprocess.CompletedProcess[str]:
        argv = (
            "docker", "buildx", "build", "--builder", "default", "--progress", "plain", "--load",
            "--build-arg", f"SERVICE={name}", "--tag", f"usual/{name}", str(tmp_path),
        )  # fmt: skip
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    with small.room_of(ROOM), ThreadPoolExecutor() as side_by_side:
        ended = list(side_by_side.map(build, project.catalogue.services))
    assert any(one.returncode != 0 for one in ended)
    assert "no space left on device" in "".join(one.stderr for one in ended).lower()
    assert_all_serve(project)
