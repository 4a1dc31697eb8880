"""Ids: names of assets and channels that are safe in Kafka keys, InfluxDB tags, file names, logs and JSON alike."""

import re

ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}+")
LONGEST = 128  # characters of a name
_OTHER = re.compile(r"[^A-Za-z0-9._:/-]")


def legal(name: str) -> str | None:
    """Return the id that a name becomes: other characters are replaced by `_`. None if it is empty or too long."""
    return _OTHER.sub("_", name) if 0 < len(name) <= LONGEST else None
