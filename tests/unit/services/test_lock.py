"""The images' locks: they hold what the tests ran with, pin every file by hash, and agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from services.base.install import LEFT_OUT, batches, prune

ROOT = Path(__file__).parents[3]
SERVICES = ROOT / "services"
PIN = re.compile(r"^([a-z0-9.-]+)==([^\s;]+)", re.MULTILINE)
LOCKS = sorted(path.name for path in SERVICES.glob("*.lock"))
VARIANTS = ("cpu", "gpu", "torch")
SIZED = ("cpu", "gpu")  # torch's wheel is on an index of its own


def lock(name: str) -> str:
    return (SERVICES / name).read_text(encoding="utf-8")


def pins(name: str) -> set[tuple[str, str]]:
    return set(PIN.findall(lock(name)))


def test_every_lock_is_one_of_a_variant() -> None:
    assert {f"requirements-{variant}.lock" for variant in VARIANTS} | {"torch-cpu.lock"} == set(LOCKS)


def test_the_image_gets_the_versions_that_the_tests_ran_with() -> None:
    tested = set(PIN.findall((ROOT / "requirements-dev.lock").read_text(encoding="utf-8")))
    assert pins("requirements-cpu.lock") <= tested


@pytest.mark.parametrize("variant", ["gpu", "torch"])
def test_the_variants_differ_from_the_cpu_s_only_by_what_they_add(variant: str) -> None:
    other, cpu = dict(pins(f"requirements-{variant}.lock")), dict(pins("requirements-cpu.lock"))
    assert {name: other[name] for name in cpu if name in other} == {name: cpu[name] for name in cpu if name in other}
    assert set(cpu) - set(other) <= {"onnxruntime"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_that_is_asked_for_is_locked(variant: str) -> None:
    wanted = (SERVICES / f"requirements-{variant}.in").read_text(encoding="utf-8").splitlines()
    asked = {re.split(r"[<>=]", line)[0] for line in wanted if line and not line.startswith("#")}
    assert asked <= {name for name, _ in pins(f"requirements-{variant}.lock")}


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_has_hashes_and_none_names_an_index(name: str) -> None:
    entries = re.split(r"\n(?=[a-z])", lock(name))[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "--index-url" not in lock(name)
    assert "://" not in lock(name)


def test_torch_can_only_be_its_cpu_build_and_the_one_that_is_trained_with() -> None:
    ours = lock("torch-cpu.lock")
    assert ours.partition("torch==")[2].startswith("2.13.0+cpu")
    assert ours.count("--hash=") == 1
    trained_with = (ROOT / "requirements-torch.lock").read_text(encoding="utf-8")
    assert ours.partition("torch==")[2] == trained_with.partition("torch==")[2]


@pytest.mark.parametrize("variant", SIZED)
def test_the_sizes_beside_a_lock_are_those_of_its_wheels(variant: str) -> None:
    sizes = tomllib.loads((SERVICES / f"sizes-{variant}.toml").read_text(encoding="utf-8"))
    assert {(name, wheel["version"]) for name, wheel in sizes["wheels"].items()} == pins(f"requirements-{variant}.lock")
    base, wheels = sizes["base"], sizes["wheels"].values()
    assert base["download_bytes"] == sum(wheel["download_bytes"] for wheel in wheels)
    assert base["unpacked_bytes"] == sum(wheel["unpacked_bytes"] for wheel in wheels)
    assert base["memory_bytes"] <= base["download_bytes"] + base["unpacked_bytes"]
    assert base["kept_bytes"] < base["unpacked_bytes"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_installed_once_and_the_large_ones_alone(name: str) -> None:
    installed = list(batches(lock(name)))
    assert sorted(pin for batch in installed for pin in PIN.findall(batch)) == sorted(PIN.findall(lock(name)))
    large = [batch for batch in installed if re.search(r"^(nvidia-|onnxruntime-gpu|torch)", batch, re.MULTILINE)]
    assert all(len(PIN.findall(batch)) == 1 for batch in large)


def test_pruning_takes_what_never_runs_and_nothing_else(tmp_path: Path) -> None:
    gone = ("bin/tool", "numpy/tests/test_a.py", "numpy/_core/include/a.h", "numpy/a.pyi", "numpy/f2py/a.py",
            "nvidia/cu13/lib/libnvblas.so.13", "torch/bin/test_api", "torch/bin/protoc", "a/b.a")  # fmt: skip
    kept = (
        "numpy/testing/a.py",
        "numpy/a.py",
        "nvidia/cu13/lib/libcublas.so.13",
        "torch/bin/torch_shm_manager",
        "a.so",
    )
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a.so")
    prune(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*kept, "link"}
    assert len(LEFT_OUT) == len(set(LEFT_OUT))
