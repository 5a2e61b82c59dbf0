"""The bundled pair of tiny models, and the puzzles that it solves."""

from pathlib import Path

SMALL = "glimp-tiny-small"
LARGE = "glimp-tiny-large"
NAMES = (SMALL, LARGE)


def path(name: str) -> Path:
    """Return the folder of the bundled model `name`; raise KeyError if there is none."""
    if name not in NAMES:
        raise KeyError(f"no bundled model {name!r}; there are {', '.join(NAMES)}")
    return Path(__file__).resolve().parent / name
