"""Serves the registry of calls on loopback: lets in who has a token, and refuses by name what is not answered.

Every method of the protocol has a handler here, so that an unknown call is answered at once and never hangs.
"""

from __future__ import annotations

import hmac
import inspect
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships none
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream
from modal_proto.api_grpc import ModalClientBase

import trimtab.emulation.modal.calls as _calls  # importing it registers the calls
from trimtab.emulation.modal.attempt import TASK_HEADER
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.rpc import CALLS, PAGE, Caller, Who, invalid
from trimtab.errors import TrimtabError
from trimtab.process import Secret

_log: Final = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
"""The client sends by HTTP what is over 2 MiB; a batch of inputs, or a Dict's update, may be some 100 MiB."""
_HEAD_BYTES: Final = 5  # of each message: compressed or not, and its length

SUBJECTS: Final = tuple(_calls.__all__)


class Service:
    """What grpclib serves: all methods of the protocol, behind one door."""

    def __init__(self, plane: Plane, token: tuple[str, Secret]) -> None:
        """`token` is what a person's client must carry; attempts carry their task's."""
        self._plane = plane
        self._token = token

    def __mapping__(self) -> Mapping[str, Handler]:
        """Return a handler for every method that the protocol has."""
        return {
            path: Handler(self._handler(path.rpartition("/")[2], known), *known[1:])
            for path, known in _protocol().items()
        }

    def _handler(self, name: str, known: Handler) -> Any:
        is_stream = known.cardinality is Cardinality.UNARY_STREAM

        async def handle(stream: Stream[Any, Any]) -> None:
            call = CALLS.get(name)
            caller = self._caller(stream.metadata)
            if call is None:
                raise _unanswered(name)
            if (call.who is Who.CLIENT) is (caller.task is not None) and call.who is not Who.BOTH:
                other = "a container may not" if caller.task is not None else "only a container may"
                raise GRPCError(Status.PERMISSION_DENIED, f"{name}: {other} make this call")
            request = await _receive(stream, known.request_type)
            try:
                if is_stream:
                    async for response in call.handler(self._plane, caller, request):
                        await stream.send_message(response)
                else:
                    response = await call.handler(self._plane, caller, request)
                    await stream.send_message(known.reply_type() if response is None else response)
            except TrimtabError as error:
                raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
            except GRPCError:
                raise
            except sqlite3.DatabaseError as error:
                raise GRPCError(
                    Status.DATA_LOSS,
                    f"{name}: the embedded Modal cannot write its state ({error}), and ends; "
                    "`trimtab modal status` says what to do",
                ) from error
            except ValueError as error:
                raise invalid(f"{name}: {error}") from error
            except Exception as error:
                _log.exception("%s failed", name)
                raise GRPCError(Status.DATA_LOSS, f"the embedded Modal failed at {name}: {error!r}") from error

        return handle

    def _caller(self, metadata: Any) -> Caller:
        task_token = metadata.get(TASK_HEADER)
        if task_token is not None:
            task = self._plane.roster.task_of(str(task_token))
            if task is None:
                raise GRPCError(Status.UNAUTHENTICATED, "the task token belongs to no container that runs")
            return Caller(task=task)
        name = str(metadata.get("x-modal-token-id", ""))
        secret = str(metadata.get("x-modal-token-secret", ""))
        if name != self._token[0] or not hmac.compare_digest(secret.encode(), self._token[1].reveal().encode()):
            raise GRPCError(
                Status.UNAUTHENTICATED,
                'the token is not this embedded Modal\'s; `eval "$(trimtab modal up --export)"` sets the right one',
            )
        return Caller(task=None)


async def _receive(stream: Stream[Any, Any], kind: Any) -> Any:
    """Return a call's message; refuse one that is none, or that would fill the memory, before it is read."""
    try:
        head = await stream._stream.recv_data(_HEAD_BYTES)
        size = int.from_bytes(head[1:], "big")
        if len(head) < _HEAD_BYTES or head[0] or size > MAX_MESSAGE_BYTES:
            raise invalid(f"a message of {size} bytes is not taken (none, compressed, or over {MAX_MESSAGE_BYTES})")
        return kind.FromString(await stream._stream.recv_data(size))
    except AssertionError as error:  # so grpclib says that a message was cut short
        raise invalid(f"the message is not whole: {error}") from error
    except DecodeError as error:
        raise invalid(f"the message is no {kind.DESCRIPTOR.name}: {error}") from error


def _unanswered(name: str) -> GRPCError:
    return GRPCError(
        Status.UNIMPLEMENTED,
        f"the embedded Modal does not answer the call {name}. {PAGE} lists what it answers; do without the feature "
        "that makes this call, or use a Modal account for it",
    )


def _protocol() -> Mapping[str, Handler]:
    """Return the methods of the protocol with their kinds, from the package that the client is part of."""

    async def nothing(self: object, stream: object) -> None:
        """Stand in for a method whose handler is ours."""

    names = [name for name, member in inspect.getmembers(ModalClientBase, inspect.isfunction) if name[0] != "_"]
    made = type("Protocol", (ModalClientBase,), dict.fromkeys(names, nothing))
    mapping: Mapping[str, Handler] = made().__mapping__()
    return mapping
