"""The data bucket on AWS, with the rights of the person at the desk: their own session, profile and region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECTIONS: Final = 32  # a request waits some 30 ms for S3: so many at once are a thousand a second


def operator_on_aws(region: str) -> S3Client:
    """Return a client with whatever rights this machine's AWS settings give. Asks nobody yet."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(max_pool_connections=_CONNECTIONS, retries={"mode": "standard", "total_max_attempts": 5})
    try:
        client: S3Client = boto3.Session().client("s3", region_name=region, config=config)
    except BotoCoreError as error:  # a profile that is not there, a file that cannot be read
        raise ProgramError(
            "AWS is not set up here", why=str(error), remedy="sign in (`aws sso login`), or mend AWS_PROFILE"
        ) from error
    return client
