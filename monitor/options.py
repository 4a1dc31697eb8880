"""The options of commands that have many: a record for each command, in which each field is an option."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import Option

from monitor.onboard.dashboard import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestOptions:
    """Options of `monitor backtest`."""

    out: Annotated[Path, Option(help="Report to write.")] = Path("backtest.html")
    alerts: Annotated[Path | None, Option(help="File for the alert records, one JSON object per line.")] = None
    model: Annotated[
        str,
        Option(
            help="Version, or current: the model in use of each detector that has one. "
            "Default: train on the beginning of the recording."
        ),
    ] = ""
    labels: Annotated[Path | None, Option(help="Labelled faults with asset, start, end; jsonl or csv.")] = None
    label_column: Annotated[str, Option(help="Column of csv or parquet that is not 0 during a fault.")] = ""
    from_: Annotated[str, Option("--from", help="First time, in ISO 8601 or ms.")] = ""
    to: Annotated[str, Option(help="End time, exclusive, in ISO 8601 or ms.")] = ""
    against: Annotated[str, Option(help="Configuration file or model version to compare with.")] = ""
    detector: Annotated[str, Option(help="The one detector to replay. Default: all of them.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardOptions:
    """Options of `monitor onboard`."""

    topic: Annotated[str, Option(help="Topic to sample. No group is joined, nothing is committed.")] = ""
    file: Annotated[Path | None, Option(help="File to sample instead: jsonl, csv, parquet or npz.")] = None
    bootstrap: Annotated[str, Option(help="Brokers, host:port. Default: as configured.")] = ""
    registry: Annotated[str, Option(help="URL of the schema registry, for Avro and Protobuf.")] = ""
    messages: Annotated[int, Option(min=10, max=5_000_000, help="Size of the sample, about.")] = 50_000
    out: Annotated[Path, Option(help="Configuration to write, with rules and dashboard in the same folder.")] = Path(
        "monitor.toml"
    )
    grafana: Annotated[Language, Option(help="Query language of the dashboard.")] = Language.FLUX
    influx: Annotated[
        str,
        Option(
            help="URL of an InfluxDB: try it, and enable the recorder. Set org, bucket and token file with "
            "-s recorder.org=… and so on."
        ),
    ] = ""
    force: Annotated[bool, Option("--force", help="Overwrite existing files.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Options of `monitor simulate`."""

    assets: Annotated[int, Option(min=1, help="Simulated pumps.")] = 8
    seed: Annotated[int, Option(min=0, help="Seed of plant and faults.")] = 0
    steps: Annotated[int, Option(min=0, help="Steps to write; 0 = endless.")] = 0
    clean: Annotated[int, Option(min=0, help="Steps without a fault at the start.")] = 1500
    speed: Annotated[float, Option(min=0, help="Simulated seconds per second; 0 = as fast as possible.")] = 1.0
    labels: Annotated[Path | None, Option(help="File for the labelled faults, one JSON object per line.")] = None


def with_records(work: Callable[..., None]) -> Callable[..., None]:
    """Return the function with the fields of its records as parameters, in the place of the records."""
    kinds = get_type_hints(work, include_extras=True)
    records: dict[str, Any] = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(work).parameters.items():
        if name not in records:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
            continue
        of_fields = get_type_hints(records[name], include_extras=True)
        parameters += [
            inspect.Parameter(each.name, parameter.KEYWORD_ONLY, default=each.default, annotation=of_fields[each.name])
            for each in fields(records[name])
        ]

    @wraps(work)
    def command(**given: Any) -> None:
        made = {
            name: kind(**{each.name: given.pop(each.name) for each in fields(kind)}) for name, kind in records.items()
        }
        work(**given, **made)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
