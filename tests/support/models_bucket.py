"""A bucket that holds models, in memory, and counts who asks for them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError


class ModelsBucket:
    """A bucket and the client of it in one, as far as reading models goes."""

    name = "harbour-charts-dev"

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = objects
        self.asked: list[str] = []

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """Give what lies under a key."""
        self.asked.append(f"{Bucket}/{Key}")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "it is not there"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def operator(self) -> Any:
        """Give the client of who runs the command."""
        return self

    operator_or_none = operator

    def of_job(self, job: str) -> Any:
        """Refuse: no job has to do with models."""
        raise AssertionError(f"the bucket was asked for, by {job}")
