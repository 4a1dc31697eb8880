"""Puts the report together: figures from the replay, charts, and the templates beside this file."""

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitor.backtest.compare import Pair
from monitor.backtest.report.assets import assets_part
from monitor.backtest.report.detectors import detectors_table
from monitor.backtest.report.scores import scores_part
from monitor.backtest.report.tables import alerts_table, comparison_part, head_part, labels_part, made_part
from monitor.backtest.together import EvaluatedReplay


@dataclass(frozen=True, slots=True)
class Compared:
    """The other replay of the same recording."""

    name: str  # as given with --against
    replay: EvaluatedReplay
    pairs: list[Pair]


def templates() -> Environment:
    """Load the templates; they escape every value that is not Markup and refuse names that are not defined."""
    return Environment(
        loader=PackageLoader("monitor.backtest", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(title: str, replay: EvaluatedReplay, against: Compared | None) -> str:
    """Return the report as HTML. Every text from a recording or a configuration is escaped by the templates."""
    layout = templates()
    # The style sheet is this package's own file; as text in <style> it must not be escaped.
    style = Markup(files("monitor.backtest.report").joinpath("report.css").read_text(encoding="utf-8"))  # noqa: S704

    section, scored = layout.get_template("asset.html"), replay.scored
    several = len(replay.detectors) > 1

    return layout.get_template("page.html").render(
        title=title,
        style=style,
        head=head_part(replay),
        detectors=detectors_table(replay) if several else None,
        alerts=alerts_table(replay),
        labels=labels_part(replay),
        comparison=None if against is None else comparison_part(replay, against.name, against.replay, against.pairs),
        parts=[
            {
                "name": each.name if several else "",
                "model": each.model,
                "scores": scores_part(each),
                "assets": assets_part(each, section, place, len(scored)),
            }
            for place, each in enumerate(scored)
        ],
        made=made_part(replay),
    )
