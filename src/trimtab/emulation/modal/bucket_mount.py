"""The background program of one bucket mount, and what starts and ends it. Mounts with FUSE; needs root on Linux.

`python -m trimtab.emulation.modal.bucket_mount TARGET` reads what to mount from its standard input, returns once it is
mounted, and serves in the background until TARGET is unmounted. Credentials travel by that standard input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.emulation.modal.attempt import BucketMount
from trimtab.emulation.modal.mounts import unmount
from trimtab.errors import ProgramError, ToolMissingError, TrimtabError
from trimtab.process import Command, ProcessRunner, Secret

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_START_TIMEOUT_S: Final = 30.0


def missing() -> str | None:
    """Return why buckets cannot be mounted on this machine, or None when they can."""
    if not Path("/dev/fuse").exists():
        return "this system has no /dev/fuse"
    if os.geteuid() != 0:
        return "mounting needs root, and this runs as an ordinary user"
    return None


def mount_bucket(spec: BucketMount, target: Path, *, identity_token: Secret | None, aws_state_dir: Path | None) -> None:
    """Mount a bucket at an empty folder. Raises ToolMissingError where that cannot be, ProgramError when it fails.

    A role that is refused is no error here: whoever looks into the mount is answered access denied.
    """
    reason = missing()
    if reason is not None:
        raise ToolMissingError(
            f"the bucket {spec.bucket} cannot be mounted at {spec.path}",
            why=reason,
            remedy="run as root on Linux with FUSE, or train without mounts: docs/embedded-modal.md, 'Without root'",
        )
    what = {
        "bucket": spec.bucket,
        "prefix": spec.prefix,
        "read_only": spec.read_only,
        "endpoint_url": spec.endpoint_url,
        "role_arn": spec.role_arn,
        "credentials": {name: value.reveal() for name, value in spec.credentials.items()},
        "identity_token": identity_token.reveal() if identity_token else None,
        "aws_state_dir": str(aws_state_dir) if aws_state_dir else None,
    }
    target.mkdir(parents=True, exist_ok=True)
    command = Command(
        argv=(sys.executable, "-m", "trimtab.emulation.modal.bucket_mount", str(target)),
        stdin=json.dumps(what).encode(),
        timeout_s=_START_TIMEOUT_S,
        hint="see whether `modprobe fuse` helps, and that nothing else is mounted there",
        house=True,
    )
    ProcessRunner().run(command)


def unmount_bucket(target: Path) -> None:
    """Take a mount away, if it is there; its program ends by itself."""
    with suppress(OSError):
        unmount(target)
    with suppress(OSError):
        target.rmdir()


def main(target: Path, what: Mapping[str, Any]) -> int:
    """Mount, go to the background and serve; return once it is mounted, or why not."""
    reader, writer = os.pipe()
    if os.fork() != 0:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read().decode()
        if said == "ready":
            return 0
        sys.stderr.write(said)
        return 4
    os.close(reader)
    os.setsid()
    os.chdir("/")
    try:
        session = _session(target, what)
    except OSError as error:
        os.write(writer, f"{target} could not be mounted: {error}\n".encode())
        return 4
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.write(writer, b"ready")
    os.close(writer)
    session.serve()
    return 0


def _session(target: Path, what: Mapping[str, Any]) -> Any:
    from trimtab.emulation.modal.bucket_files import BucketFiles
    from trimtab.emulation.modal.fuse import Session

    system = BucketFiles(_connector(what), bucket=what["bucket"], prefix=what["prefix"])
    return Session(system, target, read_only=what["read_only"])


def _connector(what: Mapping[str, Any]) -> Callable[[], S3Client]:
    """Return what makes the client: with the role by web identity, or with the secret's keys, or with none."""
    from trimtab.emulation import aws
    from trimtab.emulation.clients import create_client

    def connect() -> S3Client:
        running = aws.status(Path(what["aws_state_dir"])) if what["aws_state_dir"] else None
        endpoint_url = what["endpoint_url"] or (running.endpoint_url if running else None)
        if endpoint_url is None:
            raise ProgramError(
                f"the bucket {what['bucket']} cannot be reached",
                why="the embedded AWS does not run",
                remedy="run `trimtab infra up --embedded`",
            )
        given = what["credentials"]
        keys = None
        if what["role_arn"]:
            if running is None or not what["identity_token"]:
                raise ProgramError(
                    f"the role {what['role_arn']} was not assumed",
                    why="no token was minted" if running else "the embedded AWS does not run",
                    remedy="run `trimtab infra up --embedded`",
                )
            keys = running.assume_role(what["role_arn"], what["identity_token"]).keys()
        elif "AWS_ACCESS_KEY_ID" in given and "AWS_SECRET_ACCESS_KEY" in given:
            token = given.get("AWS_SESSION_TOKEN")
            keys = (
                given["AWS_ACCESS_KEY_ID"],
                Secret(given["AWS_SECRET_ACCESS_KEY"]),
                Secret(token) if token else None,
            )
        region = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or "us-east-1"
        client: S3Client = create_client("s3", endpoint_url, region=region, keys=keys)
        return client

    return connect


if __name__ == "__main__":
    try:
        raise SystemExit(main(Path(sys.argv[1]), json.load(sys.stdin)))
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error
