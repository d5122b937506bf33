"""What an attempt gets of this machine's processors and memory, and what is said where that is less than asked. Pure,
but for asking how much there is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from trimtab.emulation.modal.attempt import AttemptSpec
from trimtab.units import MIB, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A request is a share, a limit is hard; both are at most what the machine has. Zero: no limit."""

    cpu_milli: int
    cpu_limit_milli: int
    memory_bytes: int
    memory_limit_bytes: int
    notices: tuple[str, ...]

    def engine_arguments(self) -> dict[str, Any]:
        """Return them as the engine's SDK takes them."""
        arguments: dict[str, Any] = {"mem_limit": self.memory_limit_bytes, "memswap_limit": self.memory_limit_bytes}
        if self.cpu_milli:
            arguments["cpu_shares"] = max(2, self.cpu_milli * 1024 // 1000)
        if self.cpu_limit_milli:
            arguments["nano_cpus"] = self.cpu_limit_milli * 1_000_000
        if self.memory_bytes:
            arguments["mem_reservation"] = min(self.memory_bytes, self.memory_limit_bytes)
        return arguments


def share_of(spec: AttemptSpec, *, cores: int | None = None, memory_bytes: int | None = None) -> Share:
    """Return an attempt's share of a machine, by default of this one.

    As on Modal a request is no limit: the function may use what is free. Here nine tenths of the memory are the limit
    for one that names none, so that it is the function that ends and not the machine.
    """
    cores = cores or len(os.sched_getaffinity(0))
    memory = (memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) * 9 // 10
    notices = []
    if spec.gpu is not None:
        count = f"{spec.gpu_count} x " if spec.gpu_count > 1 else ""
        notices.append(f"{spec.function_name} asks for {count}{spec.gpu}: there is no GPU here, it runs on the CPU")
    if max(spec.cpu_milli, spec.cpu_limit_milli) > cores * 1000:
        asked = max(spec.cpu_milli, spec.cpu_limit_milli) / 1000
        notices.append(f"{spec.function_name} asks for {asked:g} cores: this machine has {cores}, it gets those")
    wanted = max(spec.memory_mib, spec.memory_limit_mib) * MIB
    if wanted > memory:
        notices.append(
            f"{spec.function_name} asks for {format_size(wanted)} of memory: it gets {format_size(memory)} here"
        )
    limit = spec.memory_limit_mib * MIB or memory
    return Share(
        cpu_milli=min(spec.cpu_milli, cores * 1000),
        cpu_limit_milli=min(spec.cpu_limit_milli, cores * 1000),
        memory_bytes=min(spec.memory_mib * MIB, memory),
        memory_limit_bytes=min(limit, memory),
        notices=tuple(notices),
    )
