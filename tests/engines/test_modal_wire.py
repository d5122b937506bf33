"""What `modal deploy deploy/modal/app.py` sends, function by function: the real client, on the embedded Modal.

The client drops what it does not like without a word (a float memory), so the numbers are read where they arrive.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.modal_plane import ModalPlane, embedded_modal
from trimtab.catalogue import load_catalogue
from trimtab.emulation import aws

pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).resolve().parents[2]
CATALOGUE: Final = load_catalogue(ROOT / "trimtab.yaml")
DAY_S: Final = 24 * 3600

# By name: job, GPU, milli-cores, MiB, seconds, retries, packages, containers at most.
SENT: Final[dict[str, tuple[str, str | None, int, int, int, int, str, int | None]]] = {
    "train": ("eeg", "A100-80GB", 32_000, 131_072, DAY_S, 10, "mamba", None),
    "smoke": ("eeg", "T4", 8_000, 32_768, 3600, 2, "mamba", None),
    "evaluate": ("eeg", "A100-40GB", 16_000, 65_536, 3600, 2, "mamba", None),
    "populate_cache": ("eeg", None, 2_000, 8_192, DAY_S, 10, "cpu", 5),
    "test_mamba_cuda": ("eeg", "A100-40GB", 4_000, 16_384, 300, 0, "mamba", None),
    "classifier": ("classifier", "T4", 4_000, 16_384, 3600, 3, "cuda", None),
    "dit": ("dit", "A10", 4_000, 16_384, DAY_S, 10, "cuda", None),
    "dedup": ("dedup", "A10", 8_000, 32_768, 14_400, 3, "cuda", None),
}
LOCKS: Final = {"cpu": ("torch", "job"), "cuda": ("cuda",), "mamba": ("mamba", "kernels")}
HAS_OWN: Final = {"dedup"}  # packages that only its image holds: what runs ONNX models


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A plane that records, beside an embedded AWS with the roles of the catalogue's jobs."""

    plane: ModalPlane
    role_arns: dict[str, str]

    def deployed(self, root: Path = ROOT, **env: str) -> dict[str, Any]:
        """Deploy an app with the real client; return what arrived, by function."""
        self.plane.cli("deploy", root / "deploy/modal/app.py", env=env)
        app = max(self.plane.record()["apps"], key=lambda app: app["version"])
        return {function["name"]: function for function in app["functions"]}

    def trimtab(self, *words: str) -> dict[str, Any]:
        """Ask the toolkit, with the client on this plane; return what it answers."""
        argv = (sys.executable, "-m", "trimtab", *words)
        done = subprocess.run(argv, env=self.plane.environment(), cwd=ROOT, check=True, capture_output=True, text=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def differences(self, functions: dict[str, Any], *, on_gpu: bool) -> list[str]:
        """Return what differs from what must be sent."""
        wrong = [f"{name} is not sent" for name in SENT.keys() - functions.keys()]
        wrong += [f"{name} is sent, too" for name in functions.keys() - SENT.keys()]
        for name in SENT.keys() & functions.keys():
            expected, found = self.expected(name, on_gpu=on_gpu), told(functions[name])
            wrong += [
                f"{name}.{key}: {found[key]} is not {expected[key]}" for key in found if found[key] != expected[key]
            ]
        return sorted(wrong)

    def expected(self, name: str, *, on_gpu: bool) -> dict[str, Any]:
        job, gpu, cpu_milli, memory_mib, timeout_s, retries, packages, containers = SENT[name]
        places = CATALOGUE.jobs[job]
        bucket = {
            "bucket": CATALOGUE.bucket_name("dev"),
            "role_arn": self.role_arns[job],
            "endpoint_url": None,
            "secret_keys": ["AWS_REGION"],
        }
        data = {**bucket, "path": "/data", "prefix": places.data, "read_only": True}
        backup = {**bucket, "path": "/backup", "prefix": places.results, "read_only": False}
        trains = name in {"train", "smoke", *CATALOGUE.jobs}
        volume = {"name": CATALOGUE.modal.results_volume, "path": "/results", "read_only": False, "sub_path": ""}
        checks = name == "test_mamba_cuda"
        return {
            "resources": {
                "cpu_milli": cpu_milli,
                "memory_mib": memory_mib,
                "disk_mib": 0,
                "gpu": gpu,
                "gpu_count": 1 if gpu else 0,
            },
            "timeout_s": timeout_s,
            "retries": {"max": retries, "backoff": 2.0, "initial_delay_ms": 0, "max_delay_ms": 60_000},
            "single_use_containers": True,
            "max_containers": containers,
            "schedule": None,
            "secrets": [],
            "module": "deploy.modal.attempts",
            "volumes": [] if checks else [volume],
            "buckets": [] if checks else [backup, data] if trains else [data],
            "locks": [*LOCKS[packages if on_gpu else "cpu"], *(["own"] if job in HAS_OWN else [])],
            "code": {"deploy", "training", "trimtab"},
        }


def told(function: dict[str, Any]) -> dict[str, Any]:
    """Return what arrived of a function in the shape that it is expected in: no ids, packages by their locks."""
    commands = [command for layer in function["image"] for command in layer]
    return {
        **{name: function[name] for name in ("resources", "timeout_s", "retries", "single_use_containers")},
        **{name: function[name] for name in ("max_containers", "schedule", "secrets", "module")},
        "volumes": [{key: value for key, value in mount.items() if key != "id"} for mount in function["volumes"]],
        "buckets": sorted(function["buckets"], key=lambda mount: str(mount["path"])),
        "locks": list(dict.fromkeys(re.findall(r"/requirements/(\w+)\.lock", " ".join(commands)))),
        "code": {Path(file).parts[2] for file in function["files"]},
    }


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp("wire")
    state = folder / "state"
    up = (sys.executable, "-m", "trimtab", "infra", "up", "--embedded", "--json")
    env = {**os.environ, "TRIMTAB_STATE": str(state)}
    subprocess.run(up, env=env, cwd=ROOT, check=True, capture_output=True)
    outputs = (sys.executable, "-m", "trimtab", "infra", "outputs", "--embedded", "--json")
    said = json.loads(subprocess.run(outputs, env=env, cwd=ROOT, check=True, capture_output=True).stdout)
    identity = {"workspace": CATALOGUE.modal.workspace, "environment": CATALOGUE.modal.environment}
    try:
        with embedded_modal(folder, aws_state_dir=state / "aws", runner="namespace", **identity) as plane:
            plane.env["TRIMTAB_STATE"] = str(state)
            yield Wire(plane=plane, role_arns=said.get("outputs", said)["modal_role_arns"])
    finally:
        aws.stop(state / "aws")


@pytest.fixture(scope="module")
def on_gpu(wire: Wire) -> dict[str, Any]:
    return wire.deployed(TRIMTAB_MODAL_PACKAGES="gpu")


def test_every_function_is_sent_as_it_is_written(wire: Wire, on_gpu: dict[str, Any]) -> None:
    assert wire.differences(on_gpu, on_gpu=True) == []


def test_where_there_is_no_gpu_nothing_of_cuda_is_built(wire: Wire) -> None:
    assert wire.differences(wire.deployed(), on_gpu=False) == []


def test_packages_come_by_hash_and_the_kernels_after_the_torch_that_they_are_built_for(on_gpu: dict[str, Any]) -> None:
    for function in on_gpu.values():
        commands = [command for layer in function["image"] for command in layer]
        installs = [command for command in commands if "pip install" in command and "/requirements/" in command]
        assert installs
        assert all("--require-hashes" in command and "--no-deps" in command for command in installs)
    kernels = [command for layer in on_gpu["train"]["image"] for command in layer if "kernels.lock" in command]
    assert "MAMBA_FORCE_BUILD=TRUE" in kernels[-1]
    lowest = on_gpu["train"]["image"][0][0]
    assert lowest.startswith("FROM nvidia/cuda:13.")
    assert on_gpu["classifier"]["image"][0][0].startswith("FROM python:3.11")


def test_the_code_is_mounted_and_nothing_else_of_this_machine(on_gpu: dict[str, Any]) -> None:
    for function in on_gpu.values():
        assert "/root/deploy/modal/attempts.py" in function["files"]
        assert "/root/training/harness/attempt.py" in function["files"]
        assert "/root/trimtab/storage/checkpoints.py" in function["files"]
        assert all(Path(file).suffix == ".py" for file in function["files"] if not file.startswith("/root/deploy/"))
        assert not any(".git" in file or "trimtab.yaml" in file or ".trimtab" in file for file in function["files"])
        assert function["image"][-1][-1].startswith("RUN "), "something is copied after the packages"


def test_a_launch_sends_its_function_alone_on_the_machine_that_is_named(wire: Wire) -> None:
    words = ("--action", "test-mamba", "--profile", "h100", "--wait", "no")
    wire.plane.cli("run", "--detach", ROOT / "deploy/modal/app.py", *words, env={"TRIMTAB_MODAL_PACKAGES": "gpu"})
    (sent,) = next(app["functions"] for app in wire.plane.record()["apps"] if app["state"] != "deployed")
    expected = wire.expected("test_mamba_cuda", on_gpu=True)
    resources = {**expected["resources"], "cpu_milli": 64_000, "memory_mib": 262_144, "gpu": "H100"}
    retries = {**expected["retries"], "max": 10}
    assert told(sent) == {**expected, "resources": resources, "timeout_s": DAY_S, "retries": retries}


def test_a_launch_by_modal_run_alone_is_priced_before_it_is_sent_and_noted_after(wire: Wire) -> None:
    app, words = ROOT / "deploy/modal/app.py", ("--action", "train", "--config", ROOT / "configs/modal/train.yaml")
    apps = len(wire.plane.record()["apps"])
    dear = wire.plane.cli("run", "--detach", app, *words, "--max-usd", "0.05", code=6)
    assert "the run may cost no more; nothing was started" in dear
    assert len(wire.plane.record()["apps"]) == apps

    said = wire.plane.cli("run", "--detach", app, *words, "--max-usd", "40", "--wait", "no")
    (called,) = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
    wire.plane.python(f"modal.FunctionCall.from_id({called['call_id']!r}).cancel()\nanswer = None")  # it has no data
    # 11 attempts of 24 h of an A100-80GB with 32 cores and 128 GiB, at 5.032 $/h
    told = "its machine costs 5.032 $/h, and all of the 11 attempts of 24 h 00 min that it is allowed 1,328 $"
    assert said.index(told) < said.index("before it costs 40.00 $") < said.index('{"app_id"')
    listed = wire.trimtab("runs", "list", "--on", "modal", "--json")["runs"]
    (run,) = [run for run in listed if run["run_id"] == called["run_id"]]
    (launch,) = run["launches"]
    assert (launch["call_id"], launch["app_id"]) == (called["call_id"], called["app_id"])
    assert (launch["job"], launch["profile"], launch["machine"]["gpu"]) == ("eeg", "train", "A100-80GB")
    assert (launch["max_usd"], launch["cap_s"]) == (40.0, pytest.approx(40 / 5.032 * 3600, rel=1e-3))
    assert run["cost"]["launches"][0]["max_usd"] == 40.0
    assert f"trimtab runs follow {run['run_id']}" in said


MUTANTS: Final = {
    "a float memory": ("resources.py", '"memory": self.memory_mib,', '"memory": float(self.memory_mib),'),
    "an opened mount": ("desk.py", "job.data, read_only=True", "job.data, read_only=False"),
}


def mutated(folder: Path, file: str, old: str, new: str) -> Path:
    """Return a copy of this project with one line of the app changed."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name not in {"deploy", ".git", ".trimtab"}:
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    path = folder / "deploy" / "modal" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return folder


@pytest.mark.parametrize("name", MUTANTS)
def test_an_app_that_sends_something_else_is_found_out(name: str, wire: Wire, tmp_path: Path) -> None:
    sent = wire.deployed(mutated(tmp_path / "project", *MUTANTS[name]), TRIMTAB_MODAL_PACKAGES="gpu")
    assert wire.differences(sent, on_gpu=True)


def test_a_prefix_without_its_slash_is_not_sent_at_all(wire: Wire, tmp_path: Path) -> None:
    without = mutated(tmp_path / "project", "desk.py", "key_prefix=prefix,", 'key_prefix=prefix.rstrip("/"),')
    assert "it must end in a '/'" in wire.plane.cli("deploy", without / "deploy/modal/app.py", code=1)


def test_an_s3_compatible_store_is_reached_by_its_secret_and_no_role(wire: Wire) -> None:
    wire.plane.cli("secret", "create", "--force", "store", "AWS_ACCESS_KEY_ID=AK", "AWS_SECRET_ACCESS_KEY=SK")
    endpoint = "https://store.harbour.example"
    functions = wire.deployed(TRIMTAB_BUCKET_ENDPOINT=endpoint, TRIMTAB_BUCKET_SECRET="store")  # noqa: S106 - its name
    mounts = [mount for function in functions.values() for mount in function["buckets"]]
    assert {mount["endpoint_url"] for mount in mounts} == {endpoint}
    assert {mount["role_arn"] for mount in mounts} == {None}
    assert all(mount["secret_keys"] == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] for mount in mounts)
