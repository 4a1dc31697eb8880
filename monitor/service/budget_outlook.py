"""Sentences about an alarm budget: before anything is started, and after a replay."""

from collections.abc import Sequence
from statistics import median

from monitor.core.rules import RowRules
from monitor.core.threshold.budget import Budget, BudgetForecast
from monitor.core.threshold.options import BudgetOptions
from monitor.settings.tree import Settings


def make_budget(settings: Settings, rules: RowRules | None = None) -> Budget:
    """Make the margins of one partition, in their first state. `rules` may give an asset a budget of its own."""
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
        ),
        rules,
    )


def beforehand(settings: Settings) -> str:
    """Return what `monitor check` prints about the budget, as comments in TOML; empty without a budget."""
    forecast = make_budget(settings).outlook()
    if forecast is None:
        return ""
    budget, needed = settings.alerting.alarms_per_day, forecast.needed_days
    return (
        f"\n# alarm budget: {budget:g} a day and asset, with 100 assets {budget * 100:g} a day in all.\n"
        f"# It can be held once {needed:g} asset-days were scored: {needed * 24:.0f} hours of one asset, "
        f"{needed * 0.24:.1f} of 100.\n"
        f"# Until then margins are the usual ones; the first is {forecast.margins[1]:.2f}.\n"
    )


def afterwards(budget: float, per_day: float | None, days: float, forecasts: Sequence[BudgetForecast]) -> str:
    """Return what a replay of `days` asset-days with `per_day` alarms per asset-day shows about the budget."""
    assets = sum(forecast.assets for forecast in forecasts)
    expected = sum(forecast.alarms_per_day * forecast.assets for forecast in forecasts) / max(assets, 1)

    smallest = min(forecast.margins[0] for forecast in forecasts)
    largest = max(forecast.margins[2] for forecast in forecasts)
    middle = median(forecast.margins[1] for forecast in forecasts)

    needed = forecasts[0].needed_days
    ahead = f"it can be held once {needed:g} were scored" if days < needed else f"{expected:.2f} expected from here on"
    return (
        f"alarm budget {budget:g} a day and asset: {per_day or 0:.2f} came in {days:.2f} asset-days; {ahead}; "
        f"margins from {smallest:.2f} to {largest:.2f}, median {middle:.2f}"
    )
