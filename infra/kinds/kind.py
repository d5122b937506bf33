"""What the embedded engine must know of a type of resource."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Wanted = Mapping[str, Any]


def _no_other(service: str) -> Any:
    raise LookupError(f"no client of {service} was given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The services, with the rights to change them; only S3's client has published types here.

    `other` makes the client of a service that few stacks use: making one takes longer than most calls.
    """

    s3: S3Client
    iam: Any
    other: Callable[[str], Any] = _no_other


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The functions of one type. `wanted` are its inputs as Pulumi names them, policies parsed.

    identify: the id and the outputs that the resource will have, before it exists: (account, generated name, wanted).
    read: what exists under an id, in the terms of the inputs, or None.
    create, update: bring it about. For a setting of something else they are the same.
    delete: take it away; nothing to take away is no error.
    visible: `wanted` as `read` can show it: without what AWS is told, but does not tell.
    parts: what hangs on it, whoever made that: (type, id) of each.
    is_setting: it is part of another resource, and may be there (by AWS's own default) before anybody made it.
    """

    identify: Callable[[str, str, Wanted], tuple[str, Wanted]]
    read: Callable[[Clients, str], Wanted | None]
    create: Callable[[Clients, str, Wanted], None]
    update: Callable[[Clients, str, Wanted], None]
    delete: Callable[[Clients, str], None]
    visible: Callable[[Wanted], Wanted] = lambda wanted: wanted
    parts: Callable[[Clients, str], Iterable[tuple[str, str]]] = lambda _clients, _id: ()
    is_setting: bool = False
