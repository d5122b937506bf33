"""`disk free` at a desk, on an engine of the test's own: only what Docker can make again, and what is ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import environment, trimtab, write_project
from tests.support.disk import TOO_MUCH
from tests.support.engine import BASE_IMAGE
from tests.support.small_engine import SmallEngine, small_engine
from trimtab.catalogue import load_catalogue
from trimtab.images.build import LABEL_PROJECT

pytestmark = pytest.mark.xdist_group("engine")

MIB = 1024**2


@pytest.fixture(scope="module")
def engine() -> Iterator[SmallEngine]:
    """Give an engine of its own: at a desk, everything that is dangling goes."""
    with small_engine(2 * 1024**3) as engine:
        yield engine


def build(engine: SmallEngine, folder: Path, *, tag: str, content: str, label: str = "") -> None:
    """Build an image of one megabyte; the name is taken from an older one that has it."""
    folder.mkdir(exist_ok=True)
    (folder / "content").write_text(content * MIB)
    labelled = f"LABEL {label}\n" if label else ""
    (folder / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\n{labelled}COPY content /content\n")
    subprocess.run(
        ("docker", "buildx", "build", "--builder", "default", "--quiet", "--tag", tag, str(folder)),
        env={**os.environ, "DOCKER_HOST": engine.host},
        check=True,
        capture_output=True,
    )


def names(engine: SmallEngine) -> set[str]:
    return {tag for image in engine.client.images.list() for tag in image.tags}


def test_only_what_can_be_made_again_goes(engine: SmallEngine, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    ours = f"{LABEL_PROJECT}={load_catalogue(project / 'trimtab.yaml').project}"
    build(engine, tmp_path / "a", tag="others/tool:1", content="a")
    build(engine, tmp_path / "b", tag="others/dangles:1", content="b")
    build(engine, tmp_path / "b", tag="others/dangles:1", content="c")
    build(engine, tmp_path / "d", tag="harbour/gulls:cpu", content="d", label=ours)
    build(engine, tmp_path / "e", tag="harbour/gulls:release-3", content="e", label=ours)
    build(engine, tmp_path / "f", tag="harbour/runs:cpu", content="f", label=ours)
    engine.client.volumes.create("others-data")
    engine.client.containers.create("harbour/runs:cpu", "true", name="ours-stopped")
    (project / ".trimtab" / "cache" / "models").mkdir(parents=True)
    (project / ".trimtab" / "cache" / "models" / "model").write_bytes(b"x" * MIB)
    (project / ".trimtab" / "results").mkdir()
    (project / ".trimtab" / "results" / "kept").write_bytes(b"x")
    (project / ".trimtab" / "lock").touch()
    env = environment(DOCKER_HOST=engine.host, PIP_CACHE_DIR=str(tmp_path / "pip"), GITHUB_ACTIONS="")

    report = trimtab("disk", "report", "--json", cwd=project, env=env).document
    (disk,) = [disk for disk in report["disks"] if disk["mount"] == str(engine.data_root)]
    kinds = {node["name"]: node for node in disk["used"]["children"]}
    assert kinds["images"]["free_takes_bytes"] >= 2 * MIB
    assert sum(node["bytes"] for node in disk["used"]["children"]) == disk["used"]["bytes"]

    ended = trimtab("disk", "free", "--need", TOO_MUCH, "--json", cwd=project, env=env)
    assert ended.code == 6
    assert names(engine) == {
        BASE_IMAGE,
        "others/tool:1",
        "others/dangles:1",
        "harbour/gulls:release-3",
        "harbour/runs:cpu",
    }
    assert not engine.client.images.list(filters={"dangling": True})
    assert [volume.name for volume in engine.client.volumes.list()] == ["others-data"]
    assert all(record["Shared"] or record["InUse"] for record in engine.client.df()["BuildCache"] or ())
    assert [container.name for container in engine.client.containers.list(all=True)] == ["ours-stopped"]
    rows = {row["name"]: row for row in ended.document["paths"]}
    assert {"dangling images", "build cache", "own images"} <= rows.keys()
    assert ended.document["error"]["exit"] == 6
    assert (project / ".trimtab" / "results" / "kept").exists()


def test_nothing_at_a_desk_goes_when_there_is_room(engine: SmallEngine, tmp_path: Path) -> None:
    build(engine, tmp_path / "b", tag="others/kept:1", content="x")
    build(engine, tmp_path / "b", tag="others/kept:1", content="y")
    env = environment(DOCKER_HOST=engine.host, GITHUB_ACTIONS="")
    ended = trimtab("disk", "free", "--need", "1MiB", "--json", cwd=tmp_path, env=env)
    assert (ended.code, ended.document["paths"]) == (0, [])
    assert engine.client.images.list(filters={"dangling": True})
