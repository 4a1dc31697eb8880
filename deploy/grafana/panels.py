"""Parts of the dashboards, built with Grafana's foundation SDK: queries, series, timelines, tables, variables.

The SDK has builders for every panel, but none for InfluxDB queries. `Influx` is one, with the fields that Grafana's
data source reads in either language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    AnnotationTarget,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableHide,
    VariableRefresh,
    VariableSort,
)

Language = Literal["flux", "influxql"]
LANGUAGES: tuple[Language, ...] = ("flux", "influxql")
PROMETHEUS = DataSourceRef("prometheus", "monitor-prometheus")
LEAST = (
    "10s"  # interval of timelines: that of outputs.scores_every in configs/fleet.toml; a shorter one would show gaps
)
SPANNED_MS = 60_000  # curves bridge gaps up to this, because scores may not be published at every step
NORMAL, WARNING, CRITICAL = "green", "orange", "red"
Panel = Any  # panels of every kind have the same methods and no common type


def influx(language: Language) -> DataSourceRef:
    """Return the provisioned data source."""
    return DataSourceRef("influxdb", f"monitor-{language}")


@dataclass
class Influx(Dataquery, Builder[Dataquery]):
    """A query to InfluxDB. `alias` names the series of InfluxQL; in Flux the columns do."""

    language: Language
    query: str
    alias: str = ""
    shape: Literal["time_series", "table"] = "time_series"

    def build(self) -> Dataquery:
        """Return the query itself: it is complete."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return the form in which Grafana stores the query."""
        common_part: dict[str, object] = {"refId": "A", "query": self.query, "datasource": influx(self.language)}
        if self.language == "flux":
            return common_part
        return {**common_part, "rawQuery": True, "resultFormat": self.shape, "alias": self.alias}


_COLUMNS = {"textColumn": "text", "tagsColumn": "severity"}  # for InfluxQL; Flux uses the names of the columns


class InfluxAnnotations(AnnotationTarget):
    """An annotation query to InfluxDB. The SDK has only one for Grafana's own database."""

    def __init__(self, language: Language, query: str) -> None:
        super().__init__()
        self._query = Influx(language, query, shape="table")

    def to_json(self) -> dict[str, object]:
        """Return the form in which Grafana stores the query."""
        return {**self._query.to_json(), "refId": "Anno", "fromAnnotations": True, **_COLUMNS}


def asks(expr: str, legend: str = "", *, now: bool = False) -> Builder[Any]:
    """Return a query to Prometheus; `now` = only the newest value."""
    query = prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").ref_id("A").datasource(PROMETHEUS)
    return query.instant() if now else query.range()


def series(title: str, about: str, unit: str, source: DataSourceRef, *queries: Builder[Any]) -> Panel:
    """Return a panel of curves over time."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).datasource(source).line_width(1)
    panel.legend(common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST).show_legend(True))
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
    panel.span_nulls(SPANNED_MS)
    for number, query in enumerate(queries):
        panel.with_target(_lettered(query, number))
    return panel


def stacked(panel: Panel, mode: shapes.StackingMode = shapes.StackingMode.NORMAL) -> Panel:
    """Stack the curves of a panel."""
    return panel.stacking(common.StackingConfig().mode(mode).group("A")).fill_opacity(40)


def figure(title: str, about: str, unit: str, source: DataSourceRef, query: Builder[Any], *, bad: float = 0.0) -> Panel:
    """Return a panel with one number, red from `bad` on (0 = no colour)."""
    panel = stat.Panel().title(title).description(about).unit(unit).datasource(source).with_target(query)
    panel.graph_mode(shapes.BigValueGraphMode.NONE).no_value("none")
    return panel.thresholds(steps((None, NORMAL), (bad, CRITICAL)) if bad else steps((None, "text")))


def timeline(title: str, about: str, source: DataSourceRef, query: Builder[Any]) -> Panel:
    """Return a panel of coloured bars over time, one per series, 25 on a page. Missing data has no bar."""
    panel = statetimeline.Panel().title(title).description(about).datasource(source).with_target(query)
    panel.show_value(shapes.VisibilityMode.NEVER).row_height(0.8).per_page(25).interval(LEAST).merge_values(True)
    panel.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS)).fill_opacity(80).line_width(0)
    return panel.legend(common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST).show_legend(True))


def rows(title: str, about: str, source: DataSourceRef, query: Builder[Any]) -> Panel:
    """Return a table panel."""
    return table.Panel().title(title).description(about).datasource(source).with_target(query).filterable(True)


def steps(*pairs: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return colours by lower limit; the first has no limit."""
    made = [Threshold(value, colour) for value, colour in pairs]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def words(**texts: tuple[str, str]) -> ValueMap:
    """Map values to a text and a colour. A leading underscore of a value is removed."""
    options = {
        value.lstrip("_"): ValueMappingResult(text, colour, index=index)
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return ValueMap(options)


def settings(**values: object) -> list[DynamicConfigValue]:
    """Return the properties of an override. Two underscores become a dot."""
    return [DynamicConfigValue(name.replace("__", "."), value) for name, value in values.items()]


def variable(name: str, label: str, source: DataSourceRef, query: str | dict[str, Any], *, many: bool) -> Panel:
    """Return a variable with queried values; `many` = several or all can be chosen, initially all."""
    made = dashboard.QueryVariable(name).label(label).datasource(source).query(query)
    made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC).hide(VariableHide.DONT_HIDE)
    return made.multi(True).include_all(True).all_value(".*") if many else made


def page(title: str, uid: str, about: str, tags: Sequence[str], since: str) -> dashboard.Dashboard:
    """Return an empty dashboard."""
    made = dashboard.Dashboard(title).uid(uid).description(about).tags(list(tags)).time(since, "now").refresh("10s")
    return made.timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR).readonly()


def leads_to(title: str, url: str) -> dashboard.DashboardLink:
    """Return a link, for a field or a dashboard, that keeps the time range."""
    return dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url).keep_time(True)


def _lettered(query: Builder[Any], number: int) -> Builder[Any]:
    return query.ref_id("ABCDEFGH"[number]) if isinstance(query, prometheus.Dataquery) else query
