"""Clients of the embedded AWS: boto3's, cut off from the settings of whose machine this is. Imports lazily."""

from __future__ import annotations

import os
from typing import Any, Final

from trimtab.process import Secret

ACCOUNT: Final = "123456789012"  # moto's

# The person's profiles, configuration files and proxies must neither reach this server nor, absent, matter.
_NOBODYS_SETTINGS: Final = {
    "profile": (None, None, None, None),
    "ca_bundle": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def create_client(
    service: str, endpoint_url: str, *, region: str, keys: tuple[str, Secret, Secret | None] | None
) -> Any:
    """Return a client that signs with these keys (id, secret, session token), or not at all."""
    import boto3
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    session = botocore.session.Session(session_vars=_NOBODYS_SETTINGS)
    if keys is not None:
        key_id, secret, token = keys
        session.set_credentials(key_id, secret.reveal(), token.reveal() if token else None)
    return boto3.Session(botocore_session=session).client(  # type: ignore[call-overload]  # the service is a variable
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(
            signature_version=None if keys else UNSIGNED,
            retries={"total_max_attempts": 2, "mode": "standard"},  # it is on this machine: it answers or is gone
            connect_timeout=5,
            read_timeout=60,
            proxies={},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
