"""The embedded AWS: starts, finds, uses and stops the background server that stands in for S3, IAM and STS.

Used by the steps of a local run and by infra/embedded.py. Touches its state folder only (`.trimtab/aws`). It enforces
IAM's actions and resources; it does not evaluate conditions (but for trust policies, which our own door judges), does
not speak TLS, keeps objects in memory, and forgets everything when it stops.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from trimtab.emulation import web_identity
from trimtab.emulation.background import BackgroundServer, read_document
from trimtab.emulation.clients import create_client
from trimtab.emulation.web_identity import Claims
from trimtab.errors import ProgramError, ToolMissingError
from trimtab.process import Secret

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

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
    return _server(state_dir).ensure(lambda: status(state_dir))


def status(state_dir: Path) -> EmbeddedAws | None:
    """Return the server of a state folder, or None when none runs. Raises ProgramError when its files are damaged."""
    server = _server(state_dir).record()
    if server is None:
        return None
    operator = read_document(state_dir / "operator.json", remedy=f"end process {server['pid']}, and start it anew")
    if operator is None:
        return None
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
    return _server(state_dir).stop(forget=("operator.json",))


def _server(state_dir: Path) -> BackgroundServer:
    return BackgroundServer(
        title="the embedded AWS",
        name="server",
        module="trimtab.emulation.aws_server",
        state_dir=state_dir,
        stop_grace_s=_STOP_GRACE_S,
    )
