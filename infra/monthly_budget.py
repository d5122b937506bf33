"""Component: who is told when the account's monthly bill comes near an amount. Declares Pulumi resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_aws import budgets

from infra.tags import KEEP_COMMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyBudgetArgs:
    """The budget's name, its amount in US dollars, and who is told."""

    budget_name: str
    usd: float
    alerts: tuple[str, ...]
    tags: Mapping[str, str]


class MonthlyBudget(pulumi.ComponentResource):
    """A budget of the whole account's costs: mail at 80 % of it, and when the forecast is over it. It stops nothing."""

    def __init__(self, name: str, args: MonthlyBudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trimtab:infra:MonthlyBudget", name, None, opts)
        budgets.Budget(
            f"{name}-costs",
            name=args.budget_name,
            budget_type="COST",
            limit_amount=f"{args.usd:.2f}",
            limit_unit="USD",
            time_unit="MONTHLY",
            notifications=[
                _notification("ACTUAL", 80, args.alerts),
                _notification("FORECASTED", 100, args.alerts),
            ],
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=KEEP_COMMIT),
        )
        self.register_outputs({})


def _notification(kind: str, percent: int, addresses: tuple[str, ...]) -> budgets.BudgetNotificationArgs:
    return budgets.BudgetNotificationArgs(
        notification_type=kind,
        comparison_operator="GREATER_THAN",
        threshold=percent,
        threshold_type="PERCENTAGE",
        subscriber_email_addresses=list(addresses),
    )
