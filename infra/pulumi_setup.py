"""What must be there before Pulumi is called: a place for its state, a passphrase, credentials, and the CLI itself.

Reads the environment; installs the CLI at first use, by the SDK's own installer, at the SDK's version, which the lock
file pins. Nothing else is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from trimtab.errors import ToolMissingError, UsageError

_DOWNLOAD_TIMEOUT_S: Final = 20.0


def require_environment(environment: Mapping[str, str], *, verb: str, has_credentials: Callable[[], bool]) -> None:
    """Refuse to begin without what Pulumi needs to end. Raises UsageError."""
    backend = environment.get("PULUMI_BACKEND_URL", "")
    if not backend:
        raise UsageError(
            "Pulumi has no place for its state",
            why="PULUMI_BACKEND_URL is not set",
            remedy="export PULUMI_BACKEND_URL=s3://BUCKET/PREFIX?region=REGION, or file://DIRECTORY",
        )
    if not (environment.get("PULUMI_CONFIG_PASSPHRASE") or environment.get("PULUMI_CONFIG_PASSPHRASE_FILE")):
        raise UsageError(
            "Pulumi has no passphrase",
            why="PULUMI_CONFIG_PASSPHRASE is not set, and the stack's state is encrypted with it",
            remedy="export PULUMI_CONFIG_PASSPHRASE, or PULUMI_CONFIG_PASSPHRASE_FILE, with the stack's own",
        )
    if (verb != "outputs" or backend.startswith("s3://")) and not has_credentials():
        raise UsageError(
            "there are no AWS credentials",
            why="neither the environment, nor a profile, nor this machine offers any",
            remedy="sign in (aws sso login) or export AWS_PROFILE; without an account: trimtab infra up --embedded",
        )


def has_aws_credentials() -> bool:
    """Return whether there are credentials where every AWS program looks for them. Raises UsageError."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.Session().get_credentials() is not None
    except BotoCoreError as error:
        raise UsageError(
            "the AWS credentials cannot be read",
            why=str(error),
            remedy="mend AWS_PROFILE or ~/.aws; `aws sts get-caller-identity` shows when it is well",
        ) from error


def installed_pulumi() -> str:
    """Return the Pulumi CLI: the one on PATH when it is new enough, else the SDK's own, installed at first use.

    Raises ToolMissingError where it cannot be downloaded.
    """
    import shutil
    import socket
    import subprocess

    from pulumi.automation import PulumiCommand

    try:
        return str(shutil.which(PulumiCommand().command))
    except Exception:  # noqa: BLE001, S110 - absent, too old or broken: the SDK raises all kinds; we bring our own
        pass
    limit = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)  # the SDK's download has none
    try:
        return PulumiCommand.install().command
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "output", b"") or b""
        raise ToolMissingError(
            "the Pulumi CLI is not there and could not be installed",
            why=f"{error}\n{output.decode(errors='replace')}".rstrip(),
            remedy="install it where get.pulumi.com can be reached; without it: trimtab infra up --embedded",
        ) from error
    finally:
        socket.setdefaulttimeout(limit)
