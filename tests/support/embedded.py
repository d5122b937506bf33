"""An embedded AWS for a test, in a folder of its own, stopped at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trimtab.emulation import aws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def embedded_aws(state_dir: Path) -> Iterator[aws.EmbeddedAws]:
    """Run an embedded AWS."""
    running = aws.ensure_running(state_dir)
    try:
        yield running
    finally:
        aws.stop(state_dir)


def answer_of(call: Callable[..., Any], **arguments: Any) -> int:
    """Return the HTTP status with which AWS answers a call: 200, 204, 403, 404 ..."""
    from botocore.exceptions import ClientError

    try:
        status: int = call(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status
