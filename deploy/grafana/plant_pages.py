"""Dashboards of the plant, from InfluxDB: the fleet, one asset, and the template that `monitor onboard` fills in."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.common import LineStyle, StackingMode

from deploy.grafana import queries
from deploy.grafana.panels import (
    CRITICAL,
    NORMAL,
    WARNING,
    InfluxAnnotations,
    Language,
    Panel,
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
    """Return the dashboard of all assets, their states and their alerts."""
    source, asset_page = influx(language), f"/d/monitor-asset-{language}"
    to_asset = leads_to(
        "Asset", f"{asset_page}?var-asset=${{__data.fields.asset}}&var-detector=${{__data.fields.detector}}"
    )
    about = "Alerts and scores of all assets."
    made = page(f"Fleet ({NAMES[language]})", f"monitor-fleet-{language}", about, ["monitor", language], "now-6h")
    made.with_variable(variable("asset", "Asset", source, queries.values(language, "asset"), many=True))
    made.with_variable(variable("detector", "Detector", source, queries.values(language, "detector"), many=True))
    made.link(leads_to("One asset", asset_page))
    now = queries.firing_now(language)
    made.with_panel(
        figure("Firing assets", "By their newest alert record.", "none", source, now, bad=1).span(4).height(4)
    )
    scored = queries.scored_now(language)
    made.with_panel(figure("Assets with scores", "In the time range.", "none", source, scored).span(4).height(4))
    made.with_panel(_alerts(language).span(16).height(8))
    made.with_panel(_states(language).span(24).height(12))
    table = rows(
        "Alert records", "The newest 200. Click an asset for its channels.", source, queries.alert_rows(language)
    )
    table.override_by_name("asset", settings(links=[to_asset.build()]))
    states = words(firing=("firing", CRITICAL), adapted=("adapted", WARNING), resolved=("resolved", NORMAL))
    table.override_by_name("state", settings(mappings=[states]))
    for name in ("ratio", "peak"):
        table.override_by_name(name, settings(decimals=2))
    return made.with_panel(table.span(24).height(12))


def asset(language: Language) -> dashboard.Dashboard:
    """Return the dashboard of one asset: alarm score, contributions, and each channel with its expected band."""
    source = influx(language)
    about = "Alarm score and channels of one asset: observed values and the expected band."
    made = page(f"Asset ({NAMES[language]})", f"monitor-asset-{language}", about, ["monitor", language], "now-1h")
    made.with_variable(variable("asset", "Asset", source, queries.values(language, "asset"), many=False))
    made.with_variable(_detector(language))
    channels = queries.values(language, "channel", of=("asset", "detector"))
    made.with_variable(variable("channel", "Channel", source, channels, many=True))
    made.link(leads_to("The fleet", f"/d/monitor-fleet-{language}"))
    made.annotation(_marks(language))
    made.with_panel(_alarm(language).span(12).height(9)).with_panel(_shares(language).span(12).height(9))
    channel = _channel(language).repeat("channel").repeat_direction("h").max_per_row(2)
    return made.with_panel(channel.span(12).height(8))


def plant(language: Language) -> dashboard.Dashboard:
    """Return the template of `monitor onboard`, which adds the assets and repeats the last panel for each channel."""
    about = "Alerts, scores and channels of the assets that monitor onboard found."
    made = page("Plant", f"plant-{language}", about, ["monitor", language], "now-1h")
    made.with_variable(dashboard.CustomVariable("assets").label("Assets").multi(True).include_all(True))
    detectors = queries.values(language, "detector")
    made.with_variable(variable("detectors", "Detectors", influx(language), detectors, many=True))
    made.with_variable(dashboard.CustomVariable("asset").label("Asset in detail"))
    made.with_variable(_detector(language))
    made.link(leads_to("The fleet", f"/d/monitor-fleet-{language}"))
    made.annotation(_marks(language))
    for timeline_panel in (_alerts(language, "assets", "detectors"), _states(language, "assets", "detectors")):
        made.with_panel(timeline_panel.span(12).height(10))
    made.with_panel(_alarm(language).span(12).height(9)).with_panel(_shares(language).span(12).height(9))
    return made.with_panel(_channel(language).span(12).height(8))


def _detector(language: Language) -> Panel:
    """Return the variable of the detector whose scores and channels of the asset are shown."""
    found = queries.values(language, "detector", of=("asset",))
    return variable("detector", "Detector", influx(language), found, many=False)


def _alerts(language: Language, chosen: str = "asset", by: str = "detector") -> Panel:
    made = timeline(
        "Alerts",
        "From the first record to resolution. An alert that began before the time range is shown from its next record.",
        influx(language),
        queries.firing(language, chosen, by),
    )
    made.display_name("${__field.labels.asset} ${__field.labels.detector}").mappings(
        [words(_0=("not firing", NORMAL), _1=("firing", CRITICAL))]
    )
    return made.thresholds(steps((None, NORMAL), (1, CRITICAL)))


def _states(language: Language, chosen: str = "asset", by: str = "detector") -> Panel:
    made = timeline(
        "Alarm score against threshold",
        "The highest ratio of the selected detectors. 1 is the asset's limit, 1.6 is critical "
        "by default (alerting.critical_ratio). No bar: no score.",
        influx(language),
        queries.ratios(language, chosen, by),
    )
    return made.thresholds(steps((None, NORMAL), (1, WARNING), (1.6, CRITICAL)))


def _marks(language: Language) -> dashboard.AnnotationQuery:
    """Return the alerts of the asset as annotations on all curves."""
    made = dashboard.AnnotationQuery().name("Alerts").datasource(influx(language)).enable(True).icon_color(CRITICAL)
    target = InfluxAnnotations(language, queries.marks(language))
    made._internal.target = target  # noqa: SLF001 - the builder takes only a builder of the SDK's own target
    return made


def _alarm(language: Language) -> Panel:
    questions = queries.curves(language, ("alarm", "threshold"))
    made = series("Alarm score and threshold", "Higher is more anomalous.", "none", influx(language), questions)
    red = {"mode": "fixed", "fixedColor": CRITICAL}
    return made.override_by_name("threshold", settings(color=red, custom__lineStyle=DASHED))


def _shares(language: Language) -> Panel:
    about = "Share of each channel in the score."
    made = series("Contributions", about, "percentunit", influx(language), queries.shares(language))
    return stacked(made, StackingMode.PERCENT)


def _channel(language: Language) -> Panel:
    """Return the panel of the selected channel: observed value and expected band."""
    made = series(
        "$channel",
        "The band is the normal range of the model: the expected value plus or minus two deviations.",
        "none",
        influx(language),
        queries.band(language),
    )
    grey = {"color": {"mode": "fixed", "fixedColor": "semi-dark-blue"}, "custom__lineWidth": 0}
    made.override_by_name("high", settings(**grey, custom__fillBelowTo="low", custom__fillOpacity=20))
    made.override_by_name("low", settings(**grey))
    made.override_by_name("expected", settings(color={"mode": "fixed", "fixedColor": "blue"}, custom__lineStyle=DASHED))
    return made.override_by_name("observed", settings(color={"mode": "fixed", "fixedColor": "text"}))


DASHED = LineStyle("dash", [6.0, 4.0])
