"""Who may assume a job's role: the trust policy, as our own door reads it, on tokens that are right or nearly right."""

from __future__ import annotations

import time
from typing import Any

import pytest

from infra.policies import modal_trust
from tests.support.catalogues import catalogue
from trimtab.emulation.web_identity import (
    MODAL_ISSUER,
    IdentityRefusedError,
    mint,
    modal_claims,
    read,
    trust_refusal,
)

PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.modal.com"
OURS = {"workspace": "ac-harbour01", "environment": "main", "app": "harbour"}
KEY = b"a key of this test"


def refusal(claims: dict[str, Any], **policy: Any) -> str | None:
    document = {**modal_trust(PROVIDER, catalogue().modal), **policy}
    return trust_refusal(document, provider_arn=PROVIDER, issuer=MODAL_ISSUER, claims=claims)


@pytest.mark.parametrize("function", ["train", "a.b", "x:y"])
def test_any_function_and_container_of_our_app_is_let_in(function: str) -> None:
    assert refusal(modal_claims(**OURS, function=function, container="ta-1")) is None


@pytest.mark.parametrize(
    "other",
    [
        {"workspace": "ac-harbour02"},
        {"workspace": "ac-harbour01x"},
        {"environment": "dev"},
        {"environment": "main2"},
        {"app": "harbour2"},
        {"app": "harbour-copy"},
        {"app": "harbou"},
        {"app": "HARBOUR"},
    ],
    ids=lambda other: "-".join(*other.items()),
)
def test_another_workspace_environment_or_app_is_refused(other: dict[str, str]) -> None:
    assert "sub is" in str(refusal(modal_claims(**{**OURS, **other})))


@pytest.mark.parametrize("audience", [None, "", "sts.amazonaws.com", "oidc.modal.com.evil"])
def test_a_missing_or_other_audience_is_refused(audience: str | None) -> None:
    assert "aud is" in str(refusal({**modal_claims(**OURS), "aud": audience}))


def test_another_issuer_is_refused() -> None:
    assert "issuer" in str(refusal({**modal_claims(**OURS), "iss": "https://oidc.example.com"}))


def test_a_token_without_a_subject_is_refused() -> None:
    claims = modal_claims(**OURS)
    del claims["sub"]
    assert "sub is None" in str(refusal(claims))


def test_a_policy_that_names_another_provider_lets_nobody_in() -> None:
    policy = modal_trust(PROVIDER + ".example", catalogue().modal)
    assert "does not name the provider" in str(refusal(modal_claims(**OURS), **policy))


def test_a_policy_for_another_action_lets_nobody_in() -> None:
    statement = {**modal_trust(PROVIDER, catalogue().modal)["Statement"][0], "Action": "sts:AssumeRole"}
    assert refusal(modal_claims(**OURS), Statement=[statement]) is not None


def test_a_deny_wins_over_an_allow() -> None:
    allow = modal_trust(PROVIDER, catalogue().modal)["Statement"][0]
    assert "denies" in str(refusal(modal_claims(**OURS), Statement=[allow, {**allow, "Effect": "Deny"}]))


def test_a_policy_without_a_statement_lets_nobody_in() -> None:
    assert refusal(modal_claims(**OURS), Statement=[]) is not None


def test_a_condition_that_the_reader_does_not_know_is_refused_rather_than_ignored() -> None:
    statement = modal_trust(PROVIDER, catalogue().modal)["Statement"][0]
    unknown = {**statement, "Condition": {"StringNotEquals": {"oidc.modal.com:aud": "somebody"}}}
    with pytest.raises(IdentityRefusedError, match="StringNotEquals"):
        refusal(modal_claims(**OURS), Statement=[unknown])


def test_a_star_in_a_pattern_stands_for_anything_and_every_other_sign_for_itself() -> None:
    statement = modal_trust(PROVIDER, catalogue().modal)["Statement"][0]
    dotted = {**statement, "Condition": {"StringLike": {"oidc.modal.com:sub": "modal.*"}}}
    assert refusal(modal_claims(**OURS), Statement=[dotted]) is not None


def test_a_token_is_read_back_with_the_key_that_signed_it() -> None:
    now = time.time()
    claims = read(mint(modal_claims(**OURS), KEY, now_s=now), KEY, now_s=now)
    assert claims.items() >= modal_claims(**OURS).items()


def test_a_token_of_another_key_or_with_a_changed_letter_is_refused() -> None:
    now = time.time()
    token = mint(modal_claims(**OURS), KEY, now_s=now)
    with pytest.raises(IdentityRefusedError, match="not signed"):
        read(token, b"another key", now_s=now)
    head, body, signature = token.split(".")
    for forged in (f"{head}.{body[:-2]}AA.{signature}", f"{head}.{body}.", "", "x.y.z", f"{head}.{body}"):
        with pytest.raises(IdentityRefusedError, match="not signed"):
            read(forged, KEY, now_s=now)


def test_a_token_expires_within_the_hour() -> None:
    now = time.time()
    with pytest.raises(IdentityRefusedError, match="expired"):
        read(mint(modal_claims(**OURS), KEY, now_s=now), KEY, now_s=now + 3601)
