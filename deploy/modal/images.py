"""What the containers hold: packages by hash, and this project's code on top of them. Describes; builds nothing.

Three sets of packages: the processor's torch, CUDA's, and CUDA's with the kernels that only a compiler for GPUs can
build. On top of them what a single job needs, where its folder of `jobs/` has a lock. The code is mounted when a
container starts, so a change of it builds nothing anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import modal

from deploy.modal.functions import Packages

PYTHON: Final = "3.11"
CUDA_COMPILER: Final = "nvidia/cuda:13.0.2-devel-ubuntu24.04"
"""Has nvcc, of the CUDA that the locked torch is built for: kernels of another one do not load."""
_PIP: Final = "python -m pip install --no-cache-dir --no-deps --require-hashes --requirement"
# Built from its source, of that hash: left to itself it would fetch a wheel of somebody's making instead.
_KERNELS: Final = f"MAMBA_FORCE_BUILD=TRUE MAX_JOBS=4 {_PIP} /requirements/kernels.lock --no-build-isolation"


def image_of(packages: Packages, root: Path, job: str) -> modal.Image:
    """Return the image that holds a set of packages and a job's own, with the code mounted last."""
    layers = {"cpu": _cpu, "cuda": _cuda, "mamba": _mamba}
    image = layers[packages](root)
    own = root / "deploy/modal/jobs" / job / f"requirements-{'cpu' if packages == 'cpu' else 'cuda'}.lock"
    if own.is_file():
        image = _with_locks(image, {"own": own}).run_commands(f"{_PIP} /requirements/own.lock")
    return image.add_local_python_source("trimtab", "training")


def _cpu(root: Path) -> modal.Image:
    torch = f"{_PIP} /requirements/torch.lock"
    # Where torch's authors publish the CPU build, for networks whose index has none.
    index = os.environ.get("TRIMTAB_TORCH_INDEX") or (root / "scripts" / "torch-index").read_text().strip()
    locks = {"torch": root / "requirements-torch.lock", "job": root / "deploy/modal/requirements.lock"}
    image = _with_locks(modal.Image.debian_slim(python_version=PYTHON), locks)
    return image.run_commands(f"{torch} || {torch} --index-url {index}", f"{_PIP} /requirements/job.lock")


def _cuda(root: Path) -> modal.Image:
    """Return CUDA's torch: its wheels bring CUDA's libraries along, and the machine the driver."""
    locks = {"cuda": root / "deploy/modal/requirements-cuda.lock"}
    image = _with_locks(modal.Image.debian_slim(python_version=PYTHON), locks)
    return image.run_commands(f"{_PIP} /requirements/cuda.lock")


def _mamba(root: Path) -> modal.Image:
    """Return the same on a base with CUDA's compiler, and the kernels, built against that torch."""
    base = modal.Image.from_registry(CUDA_COMPILER, add_python=PYTHON)
    locks = {name: root / f"deploy/modal/requirements-{name}.lock" for name in ("mamba", "kernels")}
    return _with_locks(base, locks).run_commands(f"{_PIP} /requirements/mamba.lock", _KERNELS)


def _with_locks(image: modal.Image, locks: dict[str, Path]) -> modal.Image:
    for name, lock in locks.items():
        image = image.add_local_file(lock, f"/requirements/{name}.lock", copy=True)
    return image
