"""How a call of Modal's protocol becomes a function of ours: the registry, who may call what, and refusals.

The modules under `calls/` register one function for each call that they answer; `server.py` serves the registry and
refuses, by name, every call that is not in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from grpclib import GRPCError, Status

if TYPE_CHECKING:
    from trimtab.emulation.modal.tasks import Task

Handler = Callable[..., Any]  # an awaitable answer, or for a stream an asynchronous iterator of answers

PAGE: Final = "docs/embedded-modal.md"


class Who(Enum):
    """Who may make a call."""

    CLIENT = "client"
    CONTAINER = "container"
    BOTH = "client, container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that is answered: its subject (the module), who may make it, and what it does, in one line."""

    name: str
    subject: str
    who: Who
    does: str
    handler: Handler


CALLS: Final[dict[str, Call]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a call: a person's client, or an attempt (with its task)."""

    task: Task | None

    @property
    def attempt(self) -> Task:
        """The attempt that calls; only for calls that no client may make."""
        assert self.task is not None  # noqa: S101 - the server let only containers in
        return self.task

    @property
    def app_id(self) -> str:
        """The app that calls, "" for a person."""
        return self.task.app_id if self.task is not None else ""


def answers(*, who: Who) -> Callable[[Handler], Handler]:
    """Register a function as the answer to the call of Modal's protocol that it is named after.

    `async def app_create(plane, caller, request)` answers AppCreate. Its first docstring line becomes documentation.
    """

    def register(handler: Handler) -> Handler:
        name = "".join(part.capitalize() for part in handler.__name__.split("_"))
        lines = (handler.__doc__ or "").strip().splitlines()
        CALLS[name] = Call(
            name=name,
            subject=handler.__module__.rpartition(".")[2],
            who=who,
            does=lines[0] if lines else "",
            handler=handler,
        )
        return handler

    return register


def not_found(what: str) -> GRPCError:
    """Return the refusal of what does not exist."""
    return GRPCError(Status.NOT_FOUND, what)


def invalid(what: str) -> GRPCError:
    """Return the refusal of what Modal would not accept either."""
    return GRPCError(Status.INVALID_ARGUMENT, what)


def unsupported(what: str) -> GRPCError:
    """Return the refusal of what Modal can do and the embedded one cannot."""
    return GRPCError(
        Status.UNIMPLEMENTED,
        f"the embedded Modal cannot do this: {what}. {PAGE} lists what it can; for all else, use a Modal account "
        "(leave the environment of `trimtab modal up`)",
    )


def denied(what: str) -> GRPCError:
    """Return the refusal of what the caller may not see or do."""
    return GRPCError(Status.PERMISSION_DENIED, what)
