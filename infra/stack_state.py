"""What a stack made on the embedded AWS: one JSON file a stack in the state folder, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One resource that the stack made. Not `settled`: it was about to be made or changed when the run ended."""

    type: str
    id: str
    name: str
    protect: bool
    retain_on_delete: bool
    settled: bool

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others: its type and its id."""
        return self.type, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """All of them, in the order in which they were made, and what the last whole run exported.

    `generation` is that of the server which held them: a later server holds none.
    """

    generation: str
    held: tuple[Held, ...] = ()
    exports: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def with_held(self, item: Held) -> StackState:
        """Return the state with a resource recorded: in its old place, or last."""
        others = {held.key: held for held in self.held}
        return replace(self, held=tuple({**others, item.key: item}.values()))

    def without(self, key: tuple[str, str]) -> StackState:
        """Return the state with a resource gone."""
        return replace(self, held=tuple(held for held in self.held if held.key != key))


class StateFile:
    """The file of one stack."""

    def __init__(self, state_dir: Path, stack: str) -> None:
        self.path = state_dir / f"stack-{stack}.json"

    def load(self, generation: str) -> StackState:
        """Return the state that a server still holds: an empty one when another server made it, or nothing did."""
        try:
            document = json.loads(self.path.read_text())
        except FileNotFoundError:
            return StackState(generation=generation)
        if document["generation"] != generation:
            return StackState(generation=generation)
        held = tuple(Held(**item) for item in document["held"])
        return StackState(generation=generation, held=held, exports=document["exports"], notes=tuple(document["notes"]))

    def save(self, state: StackState) -> None:
        """Write the state: whole, or not at all."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with temporary.open("w") as file:
            json.dump(asdict(state), file, indent=1)
        temporary.replace(self.path)

    def remove(self) -> None:
        """Forget the stack."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the stack for this process; a second run waits for the first."""
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
