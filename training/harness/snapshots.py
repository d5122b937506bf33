"""A learner's state as it is now, copied to the CPU's memory, so that it can be written while learning goes on."""

from __future__ import annotations

import copy
from typing import Any

import torch


def snapshot(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that nothing changes any more: equal to the bit, every tensor on the CPU.

    Tensors that share memory share it in the copy, too, so that writing it takes no more room than writing the state.
    """
    storages: dict[tuple[torch.device, int], torch.UntypedStorage] = {}

    def copied(value: Any) -> Any:
        match value:
            case torch.Tensor():
                return tensor(value.detach())
            case dict():
                made = copy.copy(value)  # with what an OrderedDict of weights carries besides its keys
                for key in made:
                    made[key] = copied(made[key])
                return made
            case list() | tuple():
                return type(value)(map(copied, value))
            case _:
                return copy.deepcopy(value)

    def tensor(value: torch.Tensor) -> torch.Tensor:
        original = value.untyped_storage()
        key = (original.device, original.data_ptr())
        if key not in storages or not original.nbytes():
            is_here = original.device.type == "cpu"
            storages[key] = original.clone() if is_here else original.cpu()  # type: ignore[no-untyped-call]  # torch's
        made = torch.empty(0, dtype=value.dtype)
        made.set_(storages[key], value.storage_offset(), value.size(), value.stride())
        return made

    made: dict[str, Any] = copied(state)
    return made
