"""What an alarm budget lets expect, in words: before anything is started, at the start, and after a replay."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from monitor.core.threshold.budget import Budget, BudgetForecast
from monitor.core.threshold.options import BudgetOptions
from monitor.settings.tree import Settings


def make_budget(settings: Settings) -> Budget:
    """The margins of one partition, in their first state."""
    options = settings.alerting.options(settings.windows)
    return Budget(
        BudgetOptions(
            alarms_per_day=settings.alerting.alarms_per_day,
            margin=settings.threshold.margin,
            step_ms=settings.windows.step_ms,
            on_delay_ms=options.on_delay_ms,
            off_delay_ms=options.off_delay_ms,
            deadband=options.deadband,
            gap_ms=options.gap_ms,
        )
    )


def beforehand(settings: Settings) -> str:
    """What `monitor check` says of the budget, as comments in TOML; empty without one."""
    outlook = make_budget(settings).outlook()
    if outlook is None:
        return ""
    needed = outlook.needed_days
    return (
        f"\n# alarm budget: {settings.alerting.alarms_per_day:g} a day and asset, with 100 assets "
        f"{settings.alerting.alarms_per_day * 100:g} a day in all.\n"
        f"# It can be held once {needed:g} asset-days were scored: {needed * 24:.0f} hours of one asset, "
        f"{needed * 0.24:.1f} of 100.\n"
        f"# Until then margins lean on what is usual; the first is {outlook.margins[1]:.2f}.\n"
    )


def line(outlook: BudgetForecast) -> dict[str, Any]:
    """What the log says of a partition at its start; nothing is expected while too little was seen."""
    known = outlook.asset_days >= outlook.needed_days
    return {
        "assets": outlook.assets,
        "asset_days": round(outlook.asset_days, 2),
        "needed_asset_days": round(outlook.needed_days, 2),
        "expected_a_day_and_asset": round(outlook.alarms_per_day, 4) if known else None,
        "margins": [round(margin, 2) for margin in outlook.margins],
    }


def afterwards(budget: float, per_day: float | None, days: float, outlooks: Sequence[BudgetForecast]) -> str:
    """What a replay of `days` asset-days says, `per_day` alarms per asset-day having come."""
    assets = sum(outlook.assets for outlook in outlooks)
    expected = sum(outlook.alarms_per_day * outlook.assets for outlook in outlooks) / max(assets, 1)
    smallest = min(outlook.margins[0] for outlook in outlooks)
    largest = max(outlook.margins[2] for outlook in outlooks)
    middle = median(outlook.margins[1] for outlook in outlooks)
    needed = outlooks[0].needed_days
    ahead = f"it can be held once {needed:g} were scored" if days < needed else f"{expected:.2f} expected from here on"
    return (
        f"alarm budget {budget:g} a day and asset: {per_day or 0:.2f} came in {days:.2f} asset-days; {ahead}; "
        f"margins from {smallest:.2f} to {largest:.2f}, median {middle:.2f}"
    )
