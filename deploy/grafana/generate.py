"""Writes the dashboards: python -m deploy.grafana.generate. What it makes is committed; a test compares the two.

Those of `plant` lie in the package: `monitor onboard` fills them in (monitor/onboard/dashboard.py), so that the
SDK is needed here only.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.daemon_page import daemon
from deploy.grafana.panels import LANGUAGES
from deploy.grafana.plant_pages import asset, fleet, plant
from monitor.onboard.dashboard import Language, template

DASHBOARDS = Path(__file__).parent / "dashboards"


def dashboards() -> dict[Path, str]:
    """Every dashboard as JSON, by its path."""
    made = {DASHBOARDS / "prometheus/daemon.json": daemon()}
    for language in LANGUAGES:
        folder = DASHBOARDS / language
        made |= {folder / "fleet.json": fleet(language), folder / "asset.json": asset(language)}
        made[template(Language(language))] = plant(language)
    return {path: _text(each) for path, each in made.items()}


def _text(made: dashboard.Dashboard) -> str:
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write them."""
    for path, text in dashboards().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
