"""Writes the dashboards: python -m deploy.grafana.generate. What it makes is committed; a test compares the two."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.daemon_page import daemon
from deploy.grafana.panels import LANGUAGES
from deploy.grafana.plant_pages import asset, fleet

DASHBOARDS = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, str]:
    """Every dashboard as JSON, by its path below `dashboards`."""
    made = {"prometheus/daemon.json": daemon()}
    for language in LANGUAGES:
        made |= {f"{language}/fleet.json": fleet(language), f"{language}/asset.json": asset(language)}
    return {
        path: json.dumps(each.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n" for path, each in made.items()
    }


def main() -> None:
    """Write them."""
    for path, text in dashboards().items():
        target = DASHBOARDS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main()
