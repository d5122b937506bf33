"""What an attempt gets of a machine, and what is said where that is less than asked."""

from __future__ import annotations

from typing import Any

from trimtab.emulation.modal.attempt import AttemptSpec, ImageDefinition
from trimtab.emulation.modal.limits_here import share_of
from trimtab.process import Secret
from trimtab.units import GIB, MIB


def spec(**asked: Any) -> AttemptSpec:
    given: dict[str, Any] = {
        "task_id": "ta-1", "app_id": "ap-1", "app_name": "harbour", "function_id": "fu-1", "function_name": "tides",
        "environment_name": "main", "arguments": b"", "files": (), "volumes": (), "buckets": (), "environment": {},
        "image": ImageDefinition(image_id="im-1", commands=(), base=None, context=()),
        "cpu_milli": 0, "cpu_limit_milli": 0, "memory_mib": 0, "memory_limit_mib": 0, "disk_mib": 0,
        "gpu": None, "gpu_count": 0, "timeout_s": 300.0, "block_network": False,
        "server_url": "", "ports": (), "task_token": Secret(""), "identity_token": None,
    }  # fmt: skip
    return AttemptSpec(**{**given, **asked})


def test_a_request_is_a_share_and_no_limit_and_nothing_is_said() -> None:
    share = share_of(spec(cpu_milli=500, memory_mib=256), cores=2, memory_bytes=10 * GIB)
    assert share.notices == ()
    assert share.engine_arguments() == {
        "cpu_shares": 512,
        "mem_reservation": 256 * MIB,
        "mem_limit": 9 * GIB,
        "memswap_limit": 9 * GIB,
    }


def test_a_limit_is_hard() -> None:
    share = share_of(spec(cpu_limit_milli=1500, memory_limit_mib=512), cores=2, memory_bytes=10 * GIB)
    arguments = share.engine_arguments()
    assert (arguments["nano_cpus"], arguments["mem_limit"]) == (1_500_000_000, 512 * MIB)


def test_more_than_the_machine_has_is_scaled_to_it_and_said() -> None:
    share = share_of(spec(cpu_milli=16_000, memory_mib=65_536, gpu="H100", gpu_count=8), cores=2, memory_bytes=10 * GIB)
    assert (share.cpu_milli, share.memory_bytes) == (2000, 9 * GIB)
    assert share.notices == (
        "tides asks for 8 x H100: there is no GPU here, it runs on the CPU",
        "tides asks for 16 cores: this machine has 2, it gets those",
        "tides asks for 64.0 GiB of memory: it gets 9.0 GiB here",
    )
