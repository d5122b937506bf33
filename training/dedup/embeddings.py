"""Embeddings that were computed before, by the content of the picture and the recipe. Touches its own folder only.

    CACHE/embeddings/RECIPE/SHA256.npy      one batch of records, named by the checksum of the file's own bytes

A file is written whole; one whose bytes are not what its name says is removed when it is found. The folder is bounded:
the files that were not used for longest go first, and never one that this run uses.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trimtab.storage.durable import make_directory, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_DIGEST_BYTES: Final = 32


class EmbeddingCache:
    """The embeddings of one recipe. Nothing is made before the first `put`."""

    def __init__(self, cache: Path, key: str, dimensions: int, max_bytes: int) -> None:
        whole = cache / "embeddings"
        self._folder, self._max_bytes = whole / key[:32], max_bytes
        self._record = np.dtype(
            [("sha256", f"V{_DIGEST_BYTES}"), ("width", "<u4"), ("height", "<u4"), ("vector", "<f4", (dimensions,))]
        )
        self._used: set[Path] = set()
        self._where: dict[bytes, tuple[npt.NDArray[Any], int]] = {}
        for path in sorted(self._folder.glob("*.npy")):
            self._read(path)
        found = [(path.stat(), path) for path in whole.glob("*/*.npy")]
        self._total_bytes = sum(status.st_size for status, _ in found)
        unused = [(status.st_mtime_ns, path, status.st_size) for status, path in found if path not in self._used]
        self._may_go = sorted(unused, reverse=True)
        """What this run does not use, by when it was used last, the oldest at the end."""

    def __len__(self) -> int:
        return len(self._where)

    def find(self, sha256: str) -> tuple[npt.NDArray[np.float32], int, int] | None:
        """Return the vector, width and height of a content, or None."""
        if (found := self._where.get(bytes.fromhex(sha256))) is None:
            return None
        records, row = found
        record = records[row]
        return record["vector"], int(record["width"]), int(record["height"])

    def put(self, sha256s: Sequence[str], vectors: npt.NDArray[np.float32], sizes: Sequence[tuple[int, int]]) -> None:
        """Keep a batch, written whole. Where there is no room but what this run uses, it is not kept.

        Raises BudgetError when the disk is full.
        """
        records = np.zeros(len(sha256s), self._record)
        records["sha256"] = np.array([bytes.fromhex(sha256) for sha256 in sha256s], f"V{_DIGEST_BYTES}")
        records["vector"] = vectors
        records["width"], records["height"] = np.array(sizes, np.uint32).T
        stream = io.BytesIO()
        np.save(stream, records, allow_pickle=False)
        content = stream.getvalue()
        if not self._has_room(len(content)):
            return
        make_directory(self._folder)
        write_whole(self._folder / f"{hashlib.sha256(content).hexdigest()}.npy", content)
        self._total_bytes += len(content)

    def _has_room(self, more_bytes: int) -> bool:
        while self._total_bytes + more_bytes > self._max_bytes and self._may_go:
            _, path, size_bytes = self._may_go.pop()
            path.unlink(missing_ok=True)
            self._total_bytes -= size_bytes
        return self._total_bytes + more_bytes <= self._max_bytes

    def _read(self, path: Path) -> None:
        with path.open("rb") as stream:
            sound = hashlib.file_digest(stream, "sha256").hexdigest() == path.stem
        if not sound:
            path.unlink(missing_ok=True)
            return
        records = np.load(path, mmap_mode="r", allow_pickle=False)
        if records.dtype != self._record:
            return
        os.utime(path)  # used now; the clock of the file system says which goes first
        self._used.add(path)
        for row, digest in enumerate(records["sha256"]):
            self._where.setdefault(digest.tobytes(), (records, row))
