"""A mounted bucket whose writer dies in the middle."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.storage.prefixes import MountedPrefix


class CutOffError(Exception):
    """The writer dies here."""


class Fragile:
    """A bucket whose writer dies in one of its changes, counted from 0; the put that it dies in leaves a half."""

    def __init__(self, bucket: MountedPrefix, changes: int) -> None:
        self.sizes, self.reading = bucket.sizes, bucket.reading
        self._bucket, self._left = bucket, changes

    def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:
        whole = content.read()
        dies = self._dies()
        self._bucket.put(name, io.BytesIO(whole[: len(whole) // 2] if dies else whole), sha256=sha256)
        if dies:
            raise CutOffError

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            if self._dies():
                raise CutOffError
            self._bucket.remove([name])

    def _dies(self) -> bool:
        self._left -= 1
        return self._left < 0
