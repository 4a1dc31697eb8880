"""The dashboard of the assets and channels that `monitor onboard` found, with the units that channel names end with.

Panels and queries are those of deploy/grafana, whose generator writes the templates in this folder, one for each query
language of InfluxDB. This module fills in names: the choices of assets, and the last panel once for each channel.
"""

import copy
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

_UID = 40  # characters that Grafana takes
_WIDTH = 24  # of a page
_UNITS = {  # last part of a channel's name -> Grafana's name of the unit
    "amps": "amp",
    "bar": "pressurebar",
    "celsius": "celsius",
    "degc": "celsius",
    "degf": "fahrenheit",
    "fahrenheit": "fahrenheit",
    "hz": "hertz",
    "kelvin": "kelvin",
    "kpa": "pressurekpa",
    "kw": "kwatt",
    "kwh": "kwatth",
    "lpm": "flowlpm",
    "mbar": "pressurembar",
    "pct": "percent",
    "percent": "percent",
    "psi": "pressurepsi",
    "rpm": "rotrpm",
    "volts": "volt",
    "watts": "watt",
}


class Language(StrEnum):
    """The query language of the dashboard."""

    FLUX = "flux"
    INFLUXQL = "influxql"


def template(language: Language) -> Path:
    """Return the file of the template."""
    return Path(__file__).with_name(f"dashboard_{language}.json")


def unit(channel: str) -> str:
    """Return Grafana's name of the unit that a channel's name ends with, as in `oil_celsius`; "none" without a unit."""
    return _UNITS.get(re.split(r"[._:/-]", channel)[-1].lower(), "none")


def dashboard_text(
    name: str, assets: Sequence[str], channels: Sequence[str], language: Language, rates: Collection[str] = ()
) -> str:
    """Return the dashboard of a detector as JSON, to be imported or provisioned.

    Of channels among `rates` the change a second is shown, which has another unit than the name says.
    """
    page: dict[str, Any] = json.loads(template(language).read_text())

    page |= {"title": name, "uid": _uid(name, language)}
    choices = page["templating"]
    choices["list"] = [
        {**each, **_choices(assets, several=each["multi"])} if each["type"] == "custom" else each
        for each in choices["list"]
    ]

    *panels, channel = page["panels"]
    page["panels"] = panels + [_panel(channel, each, place, each in rates) for place, each in enumerate(channels)]
    return json.dumps(page, indent=1, sort_keys=True) + "\n"


def _uid(name: str, language: Language) -> str:
    """Return an id of letters, digits and hyphens; a name that had to be changed or cut gets a hash."""
    uid = re.sub(r"[^A-Za-z0-9-]", "-", f"plant-{name}-{language}")
    if uid == f"plant-{name}-{language}" and len(uid) <= _UID:
        return uid
    return f"{uid[: _UID - 9]}-{hashlib.sha256(f'{name} {language}'.encode()).hexdigest()[:8]}"


def _choices(assets: Sequence[str], *, several: bool) -> dict[str, Any]:
    """Return the choices of a variable: these assets, with all of them or the first one selected."""
    every = {"text": "All", "value": "$__all"}
    options = ([every] if several else []) + [{"text": name, "value": name} for name in assets]
    chosen = {"text": ["All"], "value": ["$__all"]} if several else options[0]
    return {
        "query": ",".join(assets),
        "options": [{**option, "selected": number == 0} for number, option in enumerate(options)],
        "current": {**chosen, "selected": True},
    }


def _panel(channel: dict[str, Any], name: str, place: int, is_rate: bool) -> dict[str, Any]:
    """Return the panel of a channel. Its name is escaped in regular expressions; the decoder allows no other signs."""
    made: dict[str, Any] = copy.deepcopy(channel)
    made["title"] = f"{name}, change a second" if is_rate else name
    made["fieldConfig"]["defaults"]["unit"] = "none" if is_rate else unit(name)

    pattern = name.replace(".", r"\.").replace("/", r"\/")
    for target in made["targets"]:
        target["query"] = target["query"].replace("${channel}", name).replace("$channel", pattern)

    box = made["gridPos"]
    row, x = divmod(place * box["w"], _WIDTH)
    box |= {"x": x, "y": box["y"] + row * box["h"]}
    return made
