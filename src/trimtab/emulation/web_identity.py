"""Identity tokens of the embedded Modal, and our own reading of the trust policies that they are shown to. Pure.

moto hands out a role's credentials to any token: it checks neither signature nor trust policy. So the embedded AWS
asks here first. Tokens are signed with a key of the machine (HS256; Modal's own are RS256), which proves who minted
them and nothing about Modal. Of the policy language this reads what a role for a web identity needs: Allow and Deny,
a federated principal, StringEquals and StringLike. Anything else is refused, never guessed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Final

MODAL_ISSUER: Final = "https://oidc.modal.com"
MODAL_AUDIENCE: Final = "oidc.modal.com"
ASSUME_ACTION: Final = "sts:AssumeRoleWithWebIdentity"
_TOKEN_LIFE_S: Final = 3600

Claims = Mapping[str, Any]


class IdentityRefusedError(Exception):
    """A token is not genuine, or a trust policy does not let it in. The message is the reason."""


def modal_claims(
    *, workspace: str, environment: str, app: str, function: str = "train", container: str = "ta-embedded"
) -> dict[str, str]:
    """Return the claims of a Modal container that IAM can match: `iss`, `aud` and `sub`.

    Source: facts of Modal's OIDC page (https://modal.com/docs/guide/oidc-integration), tried on the client.
    """
    subject = (
        f"modal:workspace_id:{workspace}:environment_name:{environment}"
        f":app_name:{app}:function_name:{function}:container_id:{container}"
    )
    return {"iss": MODAL_ISSUER, "aud": MODAL_AUDIENCE, "sub": subject}


def mint(claims: Claims, key: bytes, *, now_s: float) -> str:
    """Return a signed JSON Web Token (HS256) with these claims, good for an hour."""
    body = {"iat": int(now_s), "exp": int(now_s) + _TOKEN_LIFE_S, **claims}
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(body)}"
    return f"{signed}.{_base64(_signature(signed, key))}"


def read(token: str, key: bytes, *, now_s: float) -> dict[str, Any]:
    """Return the claims of a token that this key signed and that has not expired. Raises IdentityRefusedError."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_base64(_signature(signed, key)), signature):
        raise IdentityRefusedError("the token was not signed by the embedded Modal of this machine")
    try:
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    except (binascii.Error, ValueError) as error:
        raise IdentityRefusedError("the token is not a JSON Web Token") from error
    if not isinstance(claims, dict):
        raise IdentityRefusedError("the token holds no claims")
    if not claims.get("exp", 0) > now_s:
        raise IdentityRefusedError("the token has expired")
    return claims


def trust_refusal(policy: Mapping[str, Any], *, provider_arn: str, issuer: str, claims: Claims) -> str | None:
    """Return why a role's trust policy refuses these claims, or None when it lets them in.

    `provider_arn` is the identity provider that vouches for the token, `issuer` its address. Raises
    IdentityRefusedError where the policy says something that this reader does not know.
    """
    if claims.get("iss") != issuer:
        return f"the token's issuer is {claims.get('iss')!r}, not {issuer!r}"
    context = {f"{issuer.removeprefix('https://')}:{name}": claims.get(name) for name in ("aud", "sub")}
    reasons: list[str] = []
    allowed = False
    for statement in _as_list(policy.get("Statement")):
        unknown = set(statement) - {"Sid", "Effect", "Principal", "Action", "Condition"}
        if unknown:
            raise IdentityRefusedError(f"a trust policy's {', '.join(sorted(unknown))} is not understood here")
        reason = _unmatched(statement, provider_arn, context)
        if reason is not None:
            reasons.append(reason)
        elif statement["Effect"] == "Deny":
            return f"the statement {statement.get('Sid', '')!r} denies it"
        else:
            allowed = True
    return None if allowed else "; ".join(reasons) or "the policy has no statement"


def _unmatched(statement: Mapping[str, Any], provider_arn: str, context: Mapping[str, Any]) -> str | None:
    """Return why a statement does not speak of this request, or None when it does."""
    if ASSUME_ACTION not in _as_list(statement["Action"]):
        return f"it speaks of {statement['Action']}"
    if provider_arn not in _as_list(statement["Principal"].get("Federated")):
        return f"it does not name the provider {provider_arn}"
    for operator, wanted in statement.get("Condition", {}).items():
        for key, values in wanted.items():
            actual = context.get(key)
            if not any(_holds(operator, value, actual) for value in _as_list(values)):
                return f"{key} is {actual!r}, and must be {' or '.join(map(repr, _as_list(values)))}"
    return None


def _holds(operator: str, wanted: str, actual: object) -> bool:
    if operator not in ("StringEquals", "StringLike"):
        raise IdentityRefusedError(f"the condition operator {operator} is not understood here")
    if not isinstance(actual, str):
        return False
    if operator == "StringEquals":
        return actual == wanted
    pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in wanted)
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _encode(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(signed: str, key: bytes) -> bytes:
    return hmac.digest(key, signed.encode(), hashlib.sha256)
