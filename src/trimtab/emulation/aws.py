"""The embedded AWS: starts, finds, uses and stops the background server that stands in for S3, IAM and STS.

Used by the steps of a local run and by infra/embedded.py. Touches its state folder only (`.trimtab/aws`). It enforces
IAM's actions and resources; it does not evaluate conditions (but for trust policies, which our own door judges), does
not speak TLS, keeps objects in memory, and forgets everything when it stops.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from trimtab.emulation import web_identity
from trimtab.emulation.clients import create_client
from trimtab.emulation.web_identity import Claims
from trimtab.errors import ProgramError, ToolMissingError
from trimtab.process import Command, ProcessRunner, Secret

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_START_TIMEOUT_S: Final = 60.0
_STOP_GRACE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCredentials:
    """What STS hands out for a role: an hour's worth of its rights."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret

    def keys(self) -> tuple[str, Secret, Secret | None]:
        """Return what signs a request."""
        return self.access_key_id, self.secret_access_key, self.session_token

    def environment(self) -> dict[str, str | Secret]:
        """Return the variables by which any AWS program takes these credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedAws:
    """A server that runs. `generation` is new each time one starts: what an older one held is gone."""

    state_dir: Path
    port: int
    pid: int
    generation: str
    _operator: tuple[str, Secret, None] = field(repr=False)
    _signing_key: bytes = field(repr=False)

    @property
    def endpoint_url(self) -> str:
        """The address of every service."""
        return f"http://127.0.0.1:{self.port}"

    @overload
    def operator_client(self, service: Literal["s3"], *, region: str = ...) -> S3Client: ...
    @overload
    def operator_client(self, service: str, *, region: str = ...) -> Any: ...
    def operator_client(self, service: str, *, region: str = "us-east-1") -> Any:
        """Return a client with every right, for provisioning and for the person at the desk."""
        return create_client(service, self.endpoint_url, region=region, keys=self._operator)

    @overload
    def role_client(self, service: Literal["s3"], role_arn: str, claims: Claims, *, region: str = ...) -> S3Client: ...
    @overload
    def role_client(self, service: str, role_arn: str, claims: Claims, *, region: str = ...) -> Any: ...
    def role_client(self, service: str, role_arn: str, claims: Claims, *, region: str = "us-east-1") -> Any:
        """Return a client with the rights of a role, assumed by a token with these claims. Raises ProgramError."""
        keys = self.assume_role(role_arn, self.mint_token(claims)).keys()
        return create_client(service, self.endpoint_url, region=region, keys=keys)

    def mint_token(self, claims: Claims) -> str:
        """Return an identity token as the embedded Modal hands it to a container (MODAL_IDENTITY_TOKEN)."""
        return web_identity.mint(claims, self._signing_key, now_s=time.time())

    def assume_role(self, role_arn: str, token: str) -> RoleCredentials:
        """Return the credentials that STS gives for a token. Raises ProgramError when the role does not trust it."""
        from botocore.exceptions import ClientError

        try:
            answer = create_client(
                "sts", self.endpoint_url, region="us-east-1", keys=None
            ).assume_role_with_web_identity(RoleArn=role_arn, RoleSessionName="embedded", WebIdentityToken=token)
        except ClientError as error:
            raise ProgramError(
                f"the embedded AWS refused the role {role_arn}",
                why=f"{error.response['Error']['Code']}: {error.response['Error']['Message']}",
                remedy="compare the token's workspace, environment and app with `modal:` in trimtab.yaml, "
                "then run `trimtab infra up --embedded`",
            ) from error
        credentials = answer["Credentials"]
        return RoleCredentials(
            access_key_id=credentials["AccessKeyId"],
            secret_access_key=Secret(credentials["SecretAccessKey"]),
            session_token=Secret(credentials["SessionToken"]),
        )


def ensure_running(state_dir: Path) -> EmbeddedAws:
    """Return the server of a state folder; start one when none runs.

    Raises ToolMissingError without moto, ProgramError when it does not start.
    """
    if importlib.util.find_spec("moto") is None:
        raise ToolMissingError(
            "the embedded AWS is not installed",
            why="it is moto's server, which comes with the extra `embedded`",
            remedy="run ./deploy.sh, which makes the environment whole, or: pip install 'trimtab[embedded]'",
        )
    state_dir.mkdir(parents=True, exist_ok=True)
    with _locked(state_dir / "start.lock"):
        running = status(state_dir)
        if running is None:
            argv = (sys.executable, "-m", "trimtab.emulation.aws_server", str(state_dir.absolute()))
            hint = f"{state_dir / 'server.log'} has all of it"
            ProcessRunner().run(Command(argv=argv, timeout_s=_START_TIMEOUT_S, hint=hint))
            running = status(state_dir)
    if running is None:
        raise ProgramError(
            "the embedded AWS ended as soon as it had started",
            why=f"nothing holds {state_dir / 'server.lock'} any more",
            remedy=f"read {state_dir / 'server.log'}",
        )
    return running


def status(state_dir: Path) -> EmbeddedAws | None:
    """Return the server of a state folder, or None when none runs."""
    if not _is_held(state_dir / "server.lock"):
        return None
    try:
        server = json.loads((state_dir / "server.json").read_text())
        operator = json.loads((state_dir / "operator.json").read_text())
    except FileNotFoundError:
        return None  # it holds its lock, but is not ready
    return EmbeddedAws(
        state_dir=state_dir,
        port=server["port"],
        pid=server["pid"],
        generation=server["generation"],
        _operator=(operator["access_key_id"], Secret(operator["secret_access_key"]), None),
        _signing_key=bytes.fromhex(operator["signing_key"]),
    )


def stop(state_dir: Path) -> bool:
    """Stop the server of a state folder, and it alone; return whether one ran. What it held is gone."""
    running = status(state_dir)
    if running is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The lock is held, so the process that wrote this id still lives and the id is still its own.
        if _is_held(state_dir / "server.lock"):
            os.kill(running.pid, number)
        deadline = time.monotonic() + _STOP_GRACE_S
        while _is_held(state_dir / "server.lock"):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
    for name in ("server.json", "operator.json"):
        (state_dir / name).unlink(missing_ok=True)
    return True


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
