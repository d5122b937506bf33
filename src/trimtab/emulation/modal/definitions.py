"""What clients define on the embedded Modal: apps, functions, classes, secrets, Volumes, images ... Plain values.

Each is kept by `state.py`, whole, and found again by its id, its app or its name.
"""

from __future__ import annotations

import secrets
import string
import time
from dataclasses import dataclass, field
from typing import ClassVar, Final

_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 22  # `modal app` recognises an id by it


def new_id(prefix: str) -> str:
    """Return an identifier as Modal forms them: `ap-` and 22 letters and digits."""
    return f"{prefix}-" + "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


@dataclass(kw_only=True)
class Record:
    """Something that a client defined and that is found again by its id, its app or its name."""

    kind: ClassVar[str]
    id: str
    app_id: str = ""
    name: str = ""
    created_at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class App(Record):
    """An app. `name` is what it was deployed as, "" for one that only runs; `state` an api_pb2.AppState."""

    kind: ClassVar[str] = "app"
    description: str = ""
    environment: str = ""
    state: int = 0
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    version: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Function(Record):
    """A function, or a variant of one with parameters bound. `definition` is a serialised api_pb2.Function."""

    kind: ClassVar[str] = "function"
    definition: bytes = b""
    metadata: bytes = b""
    base_id: str = ""
    params: bytes = b""
    ranks: int = 1


@dataclass(kw_only=True)
class Class(Record):
    """A class; `function_id` is the function that stands for all of its methods."""

    kind: ClassVar[str] = "class"
    function_id: str = ""


@dataclass(kw_only=True)
class StoredSecret(Record):
    """A secret with its values."""

    kind: ClassVar[str] = "secret"
    values: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Volume(Record):
    """A Volume's name and version; what it holds is the volume store's."""

    kind: ClassVar[str] = "volume"
    version: int = 0


@dataclass(kw_only=True)
class Mount(Record):
    """Files that a client sent: path, SHA-256 of the content, mode."""

    kind: ClassVar[str] = "mount"
    files: list[tuple[str, str, int]] = field(default_factory=list)


@dataclass(kw_only=True)
class Image(Record):
    """An image as the client defined it: a serialised api_pb2.Image. The name is the digest of the definition.

    `used_at` is when a client last asked for it.
    """

    kind: ClassVar[str] = "image"
    definition: bytes = b""
    builder_version: str = ""
    used_at: float = 0.0


@dataclass(kw_only=True)
class SharedRecord(Record):
    """What apps share by name; what it holds is `shared.py`'s. `used_at` is when one without a name was heard of."""

    used_at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class Dict(SharedRecord):
    """A Dict."""

    kind: ClassVar[str] = "dict"


@dataclass(kw_only=True)
class Queue(SharedRecord):
    """A Queue."""

    kind: ClassVar[str] = "queue"
