"""The monthly budget. moto neither changes one in place nor tells who is alerted, nor its tags."""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import ClientError

from infra.kinds.kind import Clients, Kind, Wanted

_NOTIFICATION: Final = {
    "comparisonOperator": "ComparisonOperator",
    "notificationType": "NotificationType",
    "threshold": "Threshold",
    "thresholdType": "ThresholdType",
}


def _identify(account: str, name: str, _wanted: Wanted) -> tuple[str, Wanted]:
    return f"{account}:{name}", {"arn": f"arn:aws:budgets::{account}:budget/{name}", "accountId": account, "name": name}


def _names(identifier: str) -> dict[str, str]:
    account, _, name = identifier.partition(":")
    return {"AccountId": account, "BudgetName": name}


def _read(clients: Clients, identifier: str) -> Wanted | None:
    budgets, names = clients.other("budgets"), _names(identifier)
    try:
        found = budgets.describe_budget(**names)["Budget"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NotFoundException":
            return None
        raise
    notifications = budgets.describe_notifications_for_budget(**names)["Notifications"]
    return {
        "name": names["BudgetName"],
        "budgetType": found["BudgetType"],
        "limitAmount": found["BudgetLimit"]["Amount"],
        "limitUnit": found["BudgetLimit"]["Unit"],
        "timeUnit": found["TimeUnit"],
        "notifications": [{key: item[theirs] for key, theirs in _NOTIFICATION.items()} for item in notifications],
    }


def _visible(wanted: Wanted) -> Wanted:
    notifications = [{key: item[key] for key in _NOTIFICATION} for item in wanted.get("notifications", ())]
    return {**{key: value for key, value in wanted.items() if key != "tags"}, "notifications": notifications}


def _create(clients: Clients, identifier: str, wanted: Wanted) -> None:
    names = _names(identifier)
    notifications: list[Any] = [
        {
            "Notification": {theirs: item[key] for key, theirs in _NOTIFICATION.items()},
            "Subscribers": [
                {"SubscriptionType": "EMAIL", "Address": address} for address in item["subscriberEmailAddresses"]
            ],
        }
        for item in wanted.get("notifications", ())
    ]
    clients.other("budgets").create_budget(
        AccountId=names["AccountId"],
        Budget={
            "BudgetName": names["BudgetName"],
            "BudgetType": wanted["budgetType"],
            "BudgetLimit": {"Amount": wanted["limitAmount"], "Unit": wanted["limitUnit"]},
            "TimeUnit": wanted["timeUnit"],
        },
        NotificationsWithSubscribers=notifications,
    )


def _replace(clients: Clients, identifier: str, wanted: Wanted) -> None:
    _delete(clients, identifier)
    _create(clients, identifier, wanted)


def _delete(clients: Clients, identifier: str) -> None:
    if _read(clients, identifier) is not None:
        clients.other("budgets").delete_budget(**_names(identifier))


BUDGET: Final = Kind(identify=_identify, read=_read, create=_create, update=_replace, delete=_delete, visible=_visible)
