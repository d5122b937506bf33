"""What a run leaves out: each file by its name, with one of a few reasons, so that they can be counted. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Reason = Literal[
    "a link",
    "not a regular file",
    "a name that is not portable",
    "unreadable",
    "empty",
    "too large a file",
    "not a picture",
    "too many pixels",
    "damaged",
    "pixels without a known range",
    "crashed its decoder",
    "took too long",
    "took too much memory",
    "changed while it was read",
    "no numbers from the encoder",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A file that is left out; its path is relative to the data, and what is not UTF-8 in it is written `\\xff`."""

    path: str
    reason: Reason
    detail: str

    def as_json(self) -> dict[str, str]:
        """Return it as it stands in the list of duplicates."""
        return {"path": self.path, "reason": self.reason, "detail": self.detail}


class UnusableError(Exception):
    """Say why one picture cannot be used. It never leaves this job: it becomes a Skip."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail[:200]


def counted(skips: Iterable[Skip]) -> dict[str, int]:
    """Return how many files were left out for each reason, most first."""
    return dict(Counter(skip.reason for skip in skips).most_common())
