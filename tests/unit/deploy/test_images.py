"""What containers hold is what jobs import: the locks agree with each other, and with the code on top of them."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

from tests.support.architecture import imports_of, python_files
from trimtab.catalogue import load_catalogue

ROOT: Final = Path(__file__).resolve().parents[3]
CATALOGUE: Final = load_catalogue(ROOT / "trimtab.yaml")
# The kernels, which jobs do without where there is no GPU.
LEFT_OUT: Final = frozenset({"mamba_ssm"})


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    pin = r"^([a-z0-9._-]+)==([^ +;\\]+)(?:\+\w+)?(?: ; python_full_version ([<>]=?) '3\.12')?"
    pins = re.findall(pin, text, re.MULTILINE)
    return {package: version for package, version, bound in pins if bound in {"", "<"}}


CPU: Final = {**locked("deploy/modal/requirements.lock"), **locked("requirements-torch.lock")}
CUDA: Final = locked("deploy/modal/requirements-cuda.lock")
MAMBA: Final = locked("deploy/modal/requirements-mamba.lock")
DEV: Final = locked("requirements-dev.lock")


def own(job: str, kind: str) -> dict[str, str]:
    """Return what only this job's image holds."""
    name = f"deploy/modal/jobs/{job}/requirements-{kind}.lock"
    return locked(name) if (ROOT / name).is_file() else {}


def test_a_job_on_a_gpu_has_the_versions_of_the_one_on_a_processor_and_cuda_beside_them() -> None:
    assert CPU["torch"] == CUDA["torch"]
    assert CPU.items() <= CUDA.items()
    assert any(name.startswith("nvidia-") for name in CUDA)
    assert CUDA.items() <= MAMBA.items()
    assert {"ninja", "packaging", "wheel", "einops"} <= MAMBA.keys(), "what builds the kernels, and what they import"
    assert set(locked("deploy/modal/requirements-kernels.lock")) == {"mamba-ssm"}


def test_what_only_one_job_needs_is_of_the_versions_here_and_replaces_nothing_that_is_there() -> None:
    cpu, cuda = own("dedup", "cpu"), own("dedup", "cuda")
    assert cpu["onnxruntime"] == DEV["onnxruntime"]
    assert "onnxruntime" not in cuda, "the build for processors hides the one for CUDA, which has the same name inside"
    assert cpu.keys() - {"onnxruntime"} == cuda.keys() - {"onnxruntime-gpu"}
    assert cpu.items() <= DEV.items()
    assert not {*cpu, *cuda} & {*CPU, *CUDA}


@pytest.mark.parametrize("job", CATALOGUE.jobs)
def test_every_package_that_a_job_imports_is_in_its_image(job: str) -> None:
    at_the_desk = {ROOT / f"{one.source.replace('.', '/')}.py" for one in CATALOGUE.jobs.values()}
    distributions = packages_distributions()
    shared = {path.parent for path in (ROOT / "training").glob("*/__init__.py")} - {
        ROOT / "training" / other for other in CATALOGUE.jobs if other != job
    }
    imported = {
        found.module.partition(".")[0]
        for folder in shared
        for path in python_files(folder, "")
        for found in imports_of(path, ROOT)
        if path not in at_the_desk
    }
    ours = {"training", "trimtab", ""}
    there = CPU.keys() | own(job, "cpu").keys()
    missing = [
        module
        for module in imported - sys.stdlib_module_names - ours - LEFT_OUT
        if not {name.lower() for name in distributions.get(module, [module])} & there
    ]
    assert missing == []
