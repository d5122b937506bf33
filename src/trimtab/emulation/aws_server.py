"""The background program of the embedded AWS: moto's S3, IAM and STS on 127.0.0.1, with IAM enforced from the start.

Started by `trimtab.emulation.aws` as `python -m trimtab.emulation.aws_server STATE_DIR`; its life is `background.py`'s.
Writes STATE_DIR only: server.json (process, port, generation), operator.json (mode 0600: the operator's keys and the
key that signs identity tokens) and server.log. Ends itself when STATE_DIR is removed.

In front of moto stands a door of our own. It refuses what moto would let through or fail at: its own control
addresses (which can switch enforcement off), requests without a signature, and tokens that the role does not trust.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from trimtab.emulation.background import WATCH_S, HeldLock, go_on_in_background, write_document
from trimtab.emulation.clients import ACCOUNT, create_client
from trimtab.emulation.web_identity import ASSUME_ACTION, IdentityRefusedError, read, trust_refusal
from trimtab.process import Secret

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    Environ = dict[str, Any]
    StartResponse = Callable[..., Any]
    App = Callable[[Environ, StartResponse], Iterable[bytes]]

_REGION: Final = "us-east-1"  # IAM and STS are global; the region is only part of the signature
_MAX_FORM_BYTES: Final = 64 * 1024
_CONDITIONS: Final = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}
_OPERATOR_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "Everything", "Effect": "Allow", "Action": "*", "Resource": "*"}],
}


def main(state_dir: Path) -> int:
    """Start the server as a daemon; return when it answers (0), or with its log on standard error (4)."""
    state_dir = state_dir.absolute()
    return go_on_in_background(
        lambda ready: _serve(state_dir, ready), log=state_dir / "server.log", without=("AWS_", "MOTO_")
    )


def _serve(state_dir: Path, ready: Callable[[], None]) -> None:
    lock = HeldLock(state_dir / "server.lock")
    operator = {"signing_key": secrets.token_hex(32)}
    front = _Front(operator)
    server = _make_server(front)
    threading.Thread(target=server.serve_forever, name="serve", daemon=True).start()
    operator.update(_create_operator(server.server_port))
    front.open(server.server_port)
    write_document(state_dir / "operator.json", operator)
    record = {"pid": os.getpid(), "port": server.server_port, "generation": secrets.token_hex(8)}
    started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_document(state_dir / "server.json", {**record, "started_at": started_at})
    ready()
    while lock.is_ours():
        time.sleep(WATCH_S)


def _make_server(front: _Front) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class QuietHandler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"  # keep-alive: a data set is thousands of small requests

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Leave the log to errors: a line a request would fill the disk."""

    front.moto = DomainDispatcherApplication(create_backend_app)
    return make_server("127.0.0.1", 0, front, threaded=True, request_handler=QuietHandler)


def _iam_client(port: int, key_id: str, secret: str) -> Any:
    return create_client("iam", f"http://127.0.0.1:{port}", region=_REGION, keys=(key_id, Secret(secret), None))


def _create_operator(port: int) -> dict[str, str]:
    """Make the one who may do everything, then switch enforcement on: from here on every request is judged."""
    from moto import settings
    from moto.core.authorization import ActionAuthenticatorMixin

    iam = _iam_client(port, "nobody", "nothing")
    iam.create_user(UserName="operator")
    iam.put_user_policy(UserName="operator", PolicyName="everything", PolicyDocument=json.dumps(_OPERATOR_POLICY))
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    # What POST /moto-api/reset-auth does; the door never lets that address through.
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0
    ActionAuthenticatorMixin.request_count = 0
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


class _Front:
    """The door: a WSGI application that judges what moto does not."""

    moto: App

    def __init__(self, operator: dict[str, str]) -> None:
        self._operator = operator
        self._iam: Any = None
        self._conditional = threading.Lock()

    def open(self, port: int) -> None:
        """Look up roles and providers as the operator; called once, before anybody knows the port."""
        self._iam = _iam_client(port, self._operator["access_key_id"], self._operator["secret_access_key"])

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        environ.pop("HTTP_X_MOTO_ACCOUNT_ID", None)  # would let a request choose its account
        if self._iam is None or "HTTP_AUTHORIZATION" in environ:
            if environ["PATH_INFO"].startswith("/moto-api"):
                return _refuse(start, "403 Forbidden", "AccessDenied", "moto's control addresses are closed here")
            is_conditional = environ["REQUEST_METHOD"] in ("PUT", "DELETE") and environ.keys() & _CONDITIONS
            with self._conditional if is_conditional else nullcontext():  # S3 looks and writes in one step, moto in two
                return self.moto(environ, start)
        form = _form(environ)
        if form.get("Action") != ASSUME_ACTION.removeprefix("sts:"):
            reason = "the request is not signed (the embedded AWS knows neither anonymous nor presigned requests)"
            return _refuse(start, "403 Forbidden", "AccessDenied", reason)
        try:
            refusal = self._judge(form)
        except IdentityRefusedError as error:
            return _refuse(start, "400 Bad Request", "InvalidIdentityToken", str(error))
        if refusal is not None:
            reason = f"Not authorized to perform {ASSUME_ACTION} (judged by Trimtab, as moto does not): {refusal}"
            return _refuse(start, "403 Forbidden", "AccessDenied", reason)
        return self.moto(self._signed(environ), start)

    def _judge(self, form: dict[str, str]) -> str | None:
        claims = read(form.get("WebIdentityToken", ""), bytes.fromhex(self._operator["signing_key"]), now_s=time.time())
        try:
            role = self._iam.get_role(RoleName=form.get("RoleArn", "").rpartition("/")[2])["Role"]
        except self._iam.exceptions.NoSuchEntityException:
            return f"there is no role {form.get('RoleArn')}"
        issuer = str(claims.get("iss", ""))
        provider_arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer.removeprefix('https://')}"
        try:
            provider = self._iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider_arn)
        except self._iam.exceptions.NoSuchEntityException:
            raise IdentityRefusedError(f"the account has no identity provider for {issuer!r}") from None
        if claims.get("aud") not in provider["ClientIDList"]:
            raise IdentityRefusedError(f"the token's audience {claims.get('aud')!r} is unknown to the provider")
        policy = role["AssumeRolePolicyDocument"]
        return trust_refusal(policy, provider_arn=provider_arn, issuer=issuer, claims=claims)

    def _signed(self, environ: Environ) -> Environ:
        """Sign a request that the door let in as the operator: moto fails at any request without a signature."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        body = environ["wsgi.input"].getvalue()
        headers = {"Content-Type": environ["CONTENT_TYPE"], "Host": environ["HTTP_HOST"]}
        request = AWSRequest(method="POST", url=f"http://{environ['HTTP_HOST']}/", data=body, headers=headers)
        keys = Credentials(self._operator["access_key_id"], self._operator["secret_access_key"])
        SigV4Auth(keys, "sts", _REGION).add_auth(request)
        return {
            **environ,
            "HTTP_AUTHORIZATION": request.headers["Authorization"],
            "HTTP_X_AMZ_DATE": request.headers["X-Amz-Date"],
        }


def _form(environ: Environ) -> dict[str, str]:
    """Return the form of a request, and leave its body to be read again."""
    try:
        size = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        size = 0
    if environ["REQUEST_METHOD"] != "POST" or not 0 < size <= _MAX_FORM_BYTES:
        return {}
    body = environ["wsgi.input"].read(size)
    environ["wsgi.input"] = io.BytesIO(body)
    return {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}


def _refuse(start: StartResponse, status: str, code: str, message: str) -> Iterable[bytes]:
    document = (
        "<ErrorResponse><Error><Type>Sender</Type>"
        f"<Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
    ).encode()
    # The body of a refused request was not read, so the connection cannot be used again.
    start(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(document))), ("Connection", "close")])
    return [document]


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
