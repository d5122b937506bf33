"""Every policy with one thing lost, or one thing wider: each must be noticed by a case of the table or the grid.

An Allow is widened, and narrowed by loss; a Deny is weakened, and loses its conditions. A Deny that only holds for more
actions or resources is no mutant: its conditions speak of headers that nothing else can carry.

Left out, as no request could tell them from the original: an action that another statement without condition allows on
the same resource already; another account in an IAM or budget ARN (AWS asks that account's own policies too); and the
right to assume our own roles, whose trust policies know nobody of the account.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.iam.actors import ALLOWED, DENIED, REFUSED
from tests.support.worlds import ACCOUNT

Statement = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One document of a world, changed. shown_by: the verdict of the cases that can show it, about its actions."""

    world: str
    document: str
    change: str
    policy: Mapping[str, Any]
    shown_by: str
    action: str

    def __str__(self) -> str:
        """Name it in a message."""
        return f"[{self.world}] {self.document}: {self.change}"

    def can_be_shown_by(self, action: str, verdict: str) -> bool:
        """Return whether a case with this action and verdict can tell it from the original."""
        service, _, name = self.action.partition(":")
        return verdict == self.shown_by and (
            action == self.action or (name == "*" and action.startswith(f"{service}:"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A changed statement (None: it is gone), what can show it, and by which action (`s3:*`: any of S3's)."""

    name: str
    statement: Statement | None
    shown_by: str
    action: str


def mutants_of(
    world: str, document: str, policy: Mapping[str, Any], universe: Mapping[str, list[str]]
) -> Iterator[Mutant]:
    """Yield every mutant of a document."""
    statements = policy["Statement"]
    for number, statement in enumerate(statements):
        others = [*statements[:number], *statements[number + 1 :]]
        changes = {change.name: change for change in _changes(statement, others, universe)}
        for change in changes.values():
            kept = [] if change.statement is None else [change.statement]
            yield Mutant(
                world=world,
                document=document,
                change=f"{statement['Sid']} {change.name}",
                policy={**policy, "Statement": [*statements[:number], *kept, *statements[number + 1 :]]},
                shown_by=change.shown_by,
                action=change.action,
            )


def _changes(statement: Statement, others: list[Statement], universe: Mapping[str, list[str]]) -> Iterator[_Change]:
    yield from _losses(statement)
    if statement["Effect"] == "Allow":
        yield from _narrower_conditions(statement)
        yield from _wider_conditions(statement)
        yield from _more_actions(statement, others, universe)
        yield from _more_resources(statement)
        yield from _more_principals(statement)
    else:
        yield from _weaker(statement)


def _any_action(statement: Statement) -> str:
    return f"{_listed(statement['Action'])[0].partition(':')[0]}:*"


def _with(statement: Statement, **changes: Any) -> Statement:
    return {**copy.deepcopy(statement), **changes}


def _losses(statement: Statement) -> Iterator[_Change]:
    """Yield the statement gone, turned round, and without each action, resource and condition."""
    allows = statement["Effect"] == "Allow"
    loss = ALLOWED if allows else DENIED
    any_action = _any_action(statement)
    yield _Change(name="gone", statement=None, shown_by=loss, action=any_action)
    turned = _with(statement, Effect="Deny" if allows else "Allow")
    yield _Change(name="turned round", statement=turned, shown_by=loss, action=any_action)
    actions, resources = _listed(statement["Action"]), _listed(statement.get("Resource", []))
    for action in actions if len(actions) > 1 else ():
        fewer = _with(statement, Action=[a for a in actions if a != action])
        yield _Change(name=f"without {action}", statement=fewer, shown_by=loss, action=action)
    for resource in resources if len(resources) > 1 else ():
        fewer = _with(statement, Resource=[r for r in resources if r != resource])
        yield _Change(name=f"not on {resource}", statement=fewer, shown_by=loss, action=any_action)
    for operator, tests in statement.get("Condition", {}).items():
        for key in tests:
            wider = _recondition(statement, operator, {k: v for k, v in tests.items() if k != key})
            shown_by = REFUSED if allows else ALLOWED
            yield _Change(name=f"without its condition on {key}", statement=wider, shown_by=shown_by, action=any_action)


def _narrower_conditions(statement: Statement) -> Iterator[_Change]:
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            for value in values if isinstance(values, list) else ():
                fewer = {**tests, key: [v for v in values if v != value]}
                yield _Change(
                    name=f"{key} without {value}",
                    statement=_recondition(statement, operator, fewer),
                    shown_by=ALLOWED,
                    action=_any_action(statement),
                )


def _wider_conditions(statement: Statement) -> Iterator[_Change]:
    """Yield each condition with a more lenient operator, and with more and more of its value cut off."""
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            rest = {k: v for k, v in tests.items() if k != key}
            wider = {f"{key} if it exists": (f"{operator}IfExists", values)}
            if operator == "StringEquals":
                wider[f"{key} in any case"] = ("StringEqualsIgnoreCase", values)
            for value in _listed(values):
                for cut in _cuts(value):
                    wider[f"{key} like {cut}"] = ("StringLike", [*_listed(values), cut])
            for name, (other, test) in wider.items():
                changed = _recondition(statement, operator, rest)
                condition = changed.setdefault("Condition", {})
                condition[other] = {**condition.get(other, {}), key: test}
                yield _Change(name=name, statement=changed, shown_by=REFUSED, action=_any_action(statement))


def _more_actions(
    statement: Statement, others: list[Statement], universe: Mapping[str, list[str]]
) -> Iterator[_Change]:
    actions, resources = _listed(statement["Action"]), _listed(statement.get("Resource", []))
    types = {_type_of(resource) for resource in resources} or {"role"}  # a trust policy hangs on a role
    for action, acted_on in universe.items():
        if not any(type_ in acted_on if type_ else not acted_on for type_ in types):
            continue
        if action.startswith("sts:") == bool(resources):
            continue  # to assume a role is for its trust policy, and a trust policy is for nothing else
        if action not in actions and not _is_allowed_by(others, action, resources):
            more = _with(statement, Action=[*actions, action])
            yield _Change(name=f"and {action}", statement=more, shown_by=REFUSED, action=action)
    whole = _any_action(statement)
    more = _with(statement, Action=[*actions, whole])
    yield _Change(name=f"and {whole}", statement=more, shown_by=REFUSED, action=whole)


def _more_resources(statement: Statement) -> Iterator[_Change]:
    resources = _listed(statement.get("Resource", []))
    for resource in resources:
        for wider in (*_cuts(resource), *_other_regions(resource)):
            more = _with(statement, Resource=[*resources, wider])
            action = _any_action(statement)
            yield _Change(name=f"and on {wider}", statement=more, shown_by=REFUSED, action=action)


def _more_principals(statement: Statement) -> Iterator[_Change]:
    if "Principal" in statement:
        for principal in ("*", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}):
            more = _with(statement, Principal=principal)
            yield _Change(name=f"for {principal}", statement=more, shown_by=REFUSED, action=_any_action(statement))


def _weaker(statement: Statement) -> Iterator[_Change]:
    """Yield a Deny that holds for fewer people, actions or objects, or under fewer conditions."""
    action = _any_action(statement)
    changed = {"for one account only": _with(statement, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})}
    if statement["Action"] == "s3:*":
        changed |= {f"for {some} only": _with(statement, Action=some) for some in ("s3:Get*", "s3:Put*", "s3:*Object")}
    resources = _listed(statement["Resource"])
    for resource in (r for r in resources if r.endswith("/*")):
        some = [*(r for r in resources if r != resource), f"{resource[:-1]}datasets/*"]
        changed["on data sets only"] = _with(statement, Resource=some)
    for operator, tests in statement["Condition"].items():
        for key, value in tests.items():
            if operator in ("Null", "Bool"):
                other = "true" if value == "false" else "false"
                changed[f"{key} {other}"] = _recondition(statement, operator, {**tests, key: other})
                continue
            for more in ("AES256", "aws:kms", "aws:kms:dsse", "arn:aws:kms:*:*:key/*"):
                if more != value and operator.startswith("Arn") == more.startswith("arn"):
                    lenient = _recondition(statement, operator, {})
                    lenient["Condition"][operator.replace("Equals", "Like")] = {**tests, key: [value, more]}
                    changed[f"but for {more}"] = lenient
    for name, mutated in changed.items():
        yield _Change(name=name, statement=mutated, shown_by=DENIED, action=action)


def _recondition(statement: Statement, operator: str, tests: Mapping[str, Any]) -> Statement:
    """Return the statement with the tests of an operator replaced; without any, the operator goes too."""
    condition = {**copy.deepcopy(statement["Condition"]), operator: dict(tests)}
    condition = {name: test for name, test in condition.items() if test}
    changed = {key: value for key, value in copy.deepcopy(statement).items() if key != "Condition"}
    return {**changed, "Condition": condition} if condition else changed


def _is_allowed_by(statements: list[Statement], action: str, resources: list[str]) -> bool:
    return any(
        action in _listed(other["Action"])
        and {*resources} <= {*_listed(other["Resource"])}
        and "Condition" not in other
        for other in statements
        if other["Effect"] == "Allow" and "Resource" in other
    )


def _cuts(text: str) -> Iterator[str]:
    """Yield a name with more and more of its end cut off, at each `/` and `:`, down to `*`."""
    if text == "*":
        return
    bare = text.removesuffix("*")
    if not text.endswith("*"):
        yield f"{text}*"
    while bare:
        shorter = bare.rstrip("/:")
        if shorter != bare and f"{shorter}*" != text:
            yield f"{shorter}*"  # a namesake
        end = max(shorter.rfind("/"), shorter.rfind(":"))
        bare = shorter[: end + 1]
        if bare.startswith("arn:") and bare.count(":") < 5:
            break  # a resource needs its service
        if bare:
            yield f"{bare}*"
    yield "*"


def _other_regions(arn: str) -> Iterator[str]:
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[3]:
        yield ":".join([*parts[:3], "*", *parts[4:]])


def _type_of(arn: str) -> str:
    """Return what an ARN names, as AWS's own data calls it; nothing for `*`."""
    if arn == "*":
        return ""
    _, _, service, _, _, resource = arn.split(":", 5)
    if service == "s3":
        return "object" if "/" in resource else "bucket"
    return resource.partition("/")[0]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
