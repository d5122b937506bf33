"""What containers hold is what jobs import: the locks agree with each other, and with the code on top of them."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

from tests.support.architecture import imports_of, python_files
from trimtab.catalogue import load_catalogue

ROOT: Final = Path(__file__).resolve().parents[3]
CATALOGUE: Final = load_catalogue(ROOT / "trimtab.yaml")
# onnxruntime: its CPU build beside a rented GPU would be a GPU rented for nothing, and the job says that it is missing.
# mamba_ssm: the kernels, which jobs do without where there is no GPU.
LEFT_OUT: Final = frozenset({"onnxruntime", "mamba_ssm"})


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    pin = r"^([a-z0-9._-]+)==([^ +;\\]+)(?:\+\w+)?(?: ; python_full_version ([<>]=?) '3\.12')?"
    pins = re.findall(pin, text, re.MULTILINE)
    return {package: version for package, version, bound in pins if bound in {"", "<"}}


CPU: Final = {**locked("deploy/modal/requirements.lock"), **locked("requirements-torch.lock")}
CUDA: Final = locked("deploy/modal/requirements-cuda.lock")
MAMBA: Final = locked("deploy/modal/requirements-mamba.lock")


def test_a_job_on_a_gpu_has_the_versions_of_the_one_on_a_processor_and_cuda_beside_them() -> None:
    assert CPU["torch"] == CUDA["torch"]
    assert CPU.items() <= CUDA.items()
    assert any(name.startswith("nvidia-") for name in CUDA)
    assert CUDA.items() <= MAMBA.items()
    assert {"ninja", "packaging", "wheel", "einops"} <= MAMBA.keys(), "what builds the kernels, and what they import"
    assert set(locked("deploy/modal/requirements-kernels.lock")) == {"mamba-ssm"}


def test_every_package_that_a_job_imports_is_in_its_image() -> None:
    at_the_desk = {ROOT / f"{job.source.replace('.', '/')}.py" for job in CATALOGUE.jobs.values()}
    distributions = packages_distributions()
    imported = {
        found.module.partition(".")[0]
        for path in python_files(ROOT, "training")
        for found in imports_of(path, ROOT)
        if path not in at_the_desk
    }
    ours = {"training", "trimtab", ""}
    missing = [
        module
        for module in imported - sys.stdlib_module_names - ours - LEFT_OUT
        if not {name.lower() for name in distributions.get(module, [module])} & CPU.keys()
    ]
    assert missing == []
