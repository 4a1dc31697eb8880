"""Write the dashboards: python -m deploy.grafana.generate. The result is committed, and a test compares the two.

The templates of `plant` are part of the package, because monitor/onboard/dashboard.py fills them in. So the SDK is
needed only here.
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
    """Return every dashboard as JSON, by its path."""
    made = {DASHBOARDS / "prometheus/daemon.json": daemon()}
    for language in LANGUAGES:
        folder = DASHBOARDS / language
        made |= {folder / "fleet.json": fleet(language), folder / "asset.json": asset(language)}
        made[template(Language(language))] = plant(language)
    return {path: _text(each) for path, each in made.items()}


def _text(made: dashboard.Dashboard) -> str:
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write all dashboards."""
    for path, text in dashboards().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
