"""Write docs/pair.schema.json, the JSON schema of a pair file, from the code."""

import json
from pathlib import Path

from glimp_core.pair_tables import pair_schema

PATH = Path(__file__).resolve().parents[1] / "docs" / "pair.schema.json"


def text() -> str:
    return json.dumps(pair_schema(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
