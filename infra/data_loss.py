"""What stands between a command and data that is gone for good: two options that nobody types by accident. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trimtab.errors import UsageError


def require_confirmation(buckets: Iterable[str], confirmed: Sequence[str]) -> None:
    """Refuse to delete data from a bucket whose name nobody typed. Raises UsageError."""
    for bucket in buckets:
        if bucket not in confirmed:
            typed = f"--confirm says {', '.join(confirmed)}" if confirmed else "--confirm was not given"
            raise UsageError(
                f"the data in the bucket {bucket} is not deleted without its name",
                why=f"{typed}; with --with-data every version of every object goes, and nothing brings it back",
                remedy=f"look at what it holds; to delete it nevertheless: --with-data --confirm {bucket}",
            )
