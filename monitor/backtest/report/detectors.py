"""The table of the detectors and of all of them together, for the report and for the terminal."""

from collections.abc import Sequence

from monitor.backtest.figures import Figures
from monitor.backtest.report.tables import Table
from monitor.backtest.report.words import lasting, number
from monitor.backtest.together import EvaluatedReplay


def detectors_table(replay: EvaluatedReplay) -> Table:
    """Return a row for each detector, and one for all together."""
    labelled, silent = replay.together.labels is not None, replay.together.silences > 0
    head = ["detector", "assets", "machine-days", "alerts", *(["of silence"] if silent else [])]
    head += ["found", "false", "false a machine-day", "median delay"] if labelled else ["a machine-day"]
    head.append("in alarm")

    def row(name: str, assets: int, figures: Figures) -> list[str]:
        cells = [name, number(assets), number(figures.days), number(figures.alerts)]
        cells += [number(figures.silences)] if silent else []
        if labelled:
            false = number(figures.false_per_day)
            cells += [f"{figures.found} of {figures.labels}", number(figures.false), false, lasting(figures.delay_ms)]
        else:
            cells.append(number(figures.per_day))
        return [*cells, lasting(figures.alarm_ms)]

    rows = [row(each.name, len(each.tracks), each.figures) for each in replay.detectors]
    assets = {track.asset for each in replay.detectors for track in each.tracks}
    rows.append(row("together", len(assets), replay.together))
    return Table(head, rows, ("name", *[""] * (len(head) - 1)))


def as_text(table: Table) -> Sequence[str]:
    """Return a table as lines of text with aligned columns."""
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
