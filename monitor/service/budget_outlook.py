"""Sentences about an alarm budget: before anything is started, and after a replay."""

from collections.abc import Sequence
from statistics import median

from monitor.core.rules import RowRules
from monitor.core.threshold.budget import KNOWN, Budget, BudgetForecast
from monitor.core.threshold.options import BudgetOptions
from monitor.settings.base import literal
from monitor.settings.rules import AssetSection
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
    """Return what `monitor check` prints about budgets and margins, as comments in TOML; empty without any."""
    return _of_all(settings) + "".join(_of_section(glob, each, settings) for glob, each in settings.assets.items())


def _of_section(glob: str, section: AssetSection, settings: Settings) -> str:
    """Return the exceptions of machines from the budget or the margin of all."""
    where, budget = f"\n# [assets.{literal(glob)}]", section.alarms_per_day
    if section.off:
        return f"{where}: off, so no alarms.\n"
    if budget:
        return (
            f"{where}: alarm budget {budget:g} a day; it can be held once {KNOWN / budget:g} asset-days were scored.\n"
        )
    if section.margin is not None and (budget == 0 or not settings.alerting.alarms_per_day):
        return f"{where}: margin {section.margin:g} in place of {settings.threshold.margin:g}.\n"
    return f"{where}: no alarm budget.\n" if budget == 0 and settings.alerting.alarms_per_day else ""


def _of_all(settings: Settings) -> str:
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
    head = f"alarm budget {budget:g} a day and asset" if budget else "alarm budgets of single assets"
    return (
        f"{head}: {per_day or 0:.2f} came in {days:.2f} asset-days; {ahead}; "
        f"margins from {smallest:.2f} to {largest:.2f}, median {middle:.2f}"
    )
