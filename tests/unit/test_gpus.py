"""The GPUs by name: memory, batch, and what is said about a name that Modal does not have."""

from __future__ import annotations

import pytest

from trimtab.cost.prices import BUNDLED, load_prices
from trimtab.emulation.modal.limits import MAX_GPUS
from trimtab.errors import UsageError
from trimtab.gpus import GPUS, find_gpu, gpu_memory_config


@pytest.mark.parametrize(("name", "gigabytes", "batch"), [("T4", 16, 32), ("A10G", 24, 64), ("A100-40GB", 40, 96)])
def test_a_gpu_s_memory_and_batch_are_known_by_its_name(name: str, gigabytes: int, batch: int) -> None:
    config = gpu_memory_config(name)
    assert (config.memory_gb, config.memory_bytes, config.batch) == (gigabytes, gigabytes * 10**9, batch)


@pytest.mark.parametrize("name", [name for name in MAX_GPUS if name != "ANY"])
def test_every_name_that_modal_takes_is_known_with_its_most(name: str) -> None:
    assert find_gpu(name.lower()).most == MAX_GPUS[name]


def test_every_gpu_has_a_price() -> None:
    assert set(load_prices(BUNDLED).gpu_hour) == set(GPUS)


def test_more_memory_never_has_a_smaller_batch() -> None:
    by_memory = sorted(GPUS.values(), key=lambda gpu: gpu.memory_gb)
    batches = [gpu_memory_config(gpu.name).batch for gpu in by_memory]
    assert batches == sorted(batches)


def test_an_unknown_gpu_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        gpu_memory_config("A100-800GB")
    assert caught.value.remedy == "did you mean 'A100-80GB'?"
