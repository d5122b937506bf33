"""A bucket with so many versions, as far as emptying one goes: at most 1000 are listed at once."""

from __future__ import annotations

from typing import Any


class FakeS3:
    """Lists and deletes the versions of one bucket; `held` ones stay, as an object lock makes them."""

    def __init__(self, versions: int, *, held: int = 0) -> None:
        self._versions = [{"Key": f"k{number}", "VersionId": f"v{number}"} for number in range(versions)]
        self._held = {f"k{number}" for number in range(held)}

    def list_object_versions(self, **_: Any) -> dict[str, Any]:
        """Return the first page."""
        return {"Versions": self._versions[:1000]}

    def delete_objects(self, *, Delete: Any, **_: Any) -> dict[str, Any]:  # noqa: N803 - S3's own spelling
        """Delete what is named, but for what is held."""
        named = {item["Key"] for item in Delete["Objects"]}
        self._versions = [item for item in self._versions if item["Key"] not in named - self._held]
        errors = [{"Key": key, "Code": "AccessDenied", "Message": "locked"} for key in sorted(named & self._held)]
        return {"Errors": errors} if errors else {}
