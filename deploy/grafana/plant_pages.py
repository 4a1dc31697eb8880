"""The dashboards of the plant, from InfluxDB: the fleet, and one asset."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.common import LineStyle, StackingMode

from deploy.grafana import queries
from deploy.grafana.panels import (
    CRITICAL,
    NORMAL,
    WARNING,
    InfluxAnnotations,
    Language,
    figure,
    influx,
    leads_to,
    page,
    rows,
    series,
    settings,
    stacked,
    steps,
    timeline,
    variable,
    words,
)

NAMES = {"flux": "Flux", "influxql": "InfluxQL"}


def fleet(language: Language) -> dashboard.Dashboard:
    """All assets: who is in which state, since when, and why."""
    source, asset_page = influx(language), f"/d/monitor-asset-{language}"
    to_asset = leads_to("the asset", f"{asset_page}?var-asset=${{__data.fields.asset}}")
    about = "Which assets are in trouble, since when, and why."
    made = page(f"Fleet ({NAMES[language]})", f"monitor-fleet-{language}", about, ["monitor", language], "now-6h")
    made.with_variable(variable("asset", "Asset", source, queries.values(language, "asset"), many=True))
    made.link(leads_to("One asset", asset_page))
    now = queries.firing_now(language)
    made.with_panel(
        figure("Assets that fire", "By their last alert record.", "none", source, now, bad=1).span(4).height(4)
    )
    scored = queries.scored_now(language)
    made.with_panel(figure("Assets with scores", "In the time range.", "none", source, scored).span(4).height(4))
    alerts = timeline(
        "Alerts",
        "From first record to resolution. What began before the time range shows from its next record.",
        source,
        queries.firing(language),
    )
    alerts.display_name("${__field.labels.asset}").mappings(
        [words(_0=("resolved", NORMAL), _1=("firing", CRITICAL))]
    ).thresholds(steps((None, NORMAL), (1, CRITICAL)))
    made.with_panel(alerts.span(16).height(8))
    state = timeline(
        "Score against threshold",
        "Ratio 1 is the asset's limit, 2 is critical (alerting.critical_ratio). No bar: no score.",
        source,
        queries.ratios(language),
    )
    made.with_panel(state.thresholds(steps((None, NORMAL), (1, WARNING), (2, CRITICAL))).span(24).height(12))
    table = rows("Alert records", "The newest 200. Click an asset to see why.", source, queries.alert_rows(language))
    table.override_by_name("asset", settings(links=[to_asset.build()]))
    table.override_by_name(
        "state", settings(mappings=[words(firing=("firing", CRITICAL), resolved=("resolved", NORMAL))])
    )
    for name in ("ratio", "peak"):
        table.override_by_name(name, settings(decimals=2))
    return made.with_panel(table.span(24).height(12))


def asset(language: Language) -> dashboard.Dashboard:
    """One asset: its score and what it is made of, and each channel beside what was expected."""
    source = influx(language)
    about = "Why an asset is in trouble: each channel, what it read and what was expected of it."
    made = page(f"Asset ({NAMES[language]})", f"monitor-asset-{language}", about, ["monitor", language], "now-1h")
    made.with_variable(variable("asset", "Asset", source, queries.values(language, "asset"), many=False))
    made.with_variable(variable("channel", "Channel", source, queries.values(language, "channel"), many=True))
    made.link(leads_to("The fleet", f"/d/monitor-fleet-{language}"))
    target = InfluxAnnotations(language, queries.marks(language))
    marks = dashboard.AnnotationQuery().name("Alerts").datasource(source).enable(True).icon_color(CRITICAL)
    marks._internal.target = target  # noqa: SLF001 - the builder takes only a builder of the SDK's own target
    made.annotation(marks)
    score = series(
        "Score and threshold",
        "Higher is more anomalous.",
        "none",
        source,
        queries.curves(language, ("score", "threshold")),
    )
    score.override_by_name(
        "threshold", settings(color={"mode": "fixed", "fixedColor": CRITICAL}, custom__lineStyle=DASHED)
    )
    made.with_panel(score.span(12).height(9))
    parts = series(
        "Contributions", "What each channel has in the score.", "percentunit", source, queries.shares(language)
    )
    made.with_panel(stacked(parts, StackingMode.PERCENT).span(12).height(9))
    channel = series(
        "$channel",
        "The band is what the model takes for normal: expected, two deviations up and down.",
        "none",
        source,
        queries.band(language),
    )
    grey = {"color": {"mode": "fixed", "fixedColor": "semi-dark-blue"}, "custom__lineWidth": 0}
    channel.override_by_name("high", settings(**grey, custom__fillBelowTo="low", custom__fillOpacity=20))
    channel.override_by_name("low", settings(**grey))
    channel.override_by_name(
        "expected", settings(color={"mode": "fixed", "fixedColor": "blue"}, custom__lineStyle=DASHED)
    )
    channel.override_by_name("observed", settings(color={"mode": "fixed", "fixedColor": "text"}))
    return made.with_panel(channel.repeat("channel").repeat_direction("h").max_per_row(2).span(12).height(8))


DASHED = LineStyle("dash", [6.0, 4.0])
