"""Write the JSON Schemas of published records to docs/schemas.

`python -m monitor.settings.schemas` writes them below the current directory; a test compares them with the code.
"""

import json
from pathlib import Path

from monitor.core.published import schemas

FOLDER = Path("docs/schemas")


def texts() -> dict[Path, str]:
    """Return the text of each schema's file, by path."""
    return {FOLDER / f"{name}.json": json.dumps(schema, indent=2) + "\n" for name, schema in schemas().items()}


if __name__ == "__main__":
    for path, text in texts().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
