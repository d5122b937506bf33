"""Which lines of the table the embedded AWS can be asked, and why it cannot be asked the others."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from tests.iam.actors import ACTORS, REFUSED, Case, documents_of

CONDITION: Final = "moto evaluates no condition, and this hangs on one"
_WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
# moto knows these requests by another action's name.
_MISTAKEN: Final = ("s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration", "s3:PutObjectRetention")
_ACTORS: Final = {
    "bounded tides": "moto knows no permissions boundary",
    "overreach": "moto knows no permissions boundary",
    "stranger": "the embedded AWS is one account",
    "operator": "the operator may do all, and would undo what the others are tried on",
}


def why_not_embedded(case: Case) -> str | None:
    """Return why the embedded AWS cannot be asked, or None: then it must answer as AWS does."""
    service = case.action.partition(":")[0]
    is_provider = not ACTORS[case.who].identity
    is_about_one = service not in ("s3", "sts") and case.on != "*"
    hangs_on_key = bool({*case.given} - {"s3:prefix"}) and not is_provider
    reasons = (
        (case.who in _ACTORS, _ACTORS.get(case.who)),
        (is_provider and case.action != _WEB_IDENTITY, "no other request carries a token"),
        (service == "kms", "the embedded AWS runs no KMS"),
        (is_about_one, "outside S3, moto asks for all resources at once, and no statement of ours allows that"),
        (case.action in _MISTAKEN, "moto takes the request for another action"),
        (hangs_on_key or _would_be_allowed_without_condition(case), CONDITION),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _would_be_allowed_without_condition(case: Case) -> bool:
    if case.verdict != REFUSED:
        return False
    documents = documents_of(case.world)
    statements = [s for name in ACTORS[case.who].identity for s in documents.get(name, {"Statement": ()})["Statement"]]
    return any(
        "Condition" in statement and case.action in statement["Action"] and fnmatchcase(case.on, statement["Resource"])
        for statement in statements
    )
