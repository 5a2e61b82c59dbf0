"""Rows of the files in which question sets are published: JSON Lines, JSON, CSV, Parquet."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from glimp_core.bench.grading import optional
from glimp_core.errors import ConfigError

DataRow: TypeAlias = Mapping[str, Any]

LONGEST_CELL = 2**31 - 1
"""Characters of a CSV cell: by default the reader refuses what is longer than 131,072."""


def read_rows(path: Path) -> Iterator[tuple[str, DataRow]]:
    """Yield the rows of a file in its order, each with where it stands, as in "f.jsonl, line 3".

    The ending says how it is read: .json (a list, or an object with one), .csv, .parquet (needs `pyarrow`), and JSON
    Lines for every other. Raises `ConfigError` for a file, or at a row, that cannot be read.
    """
    readers = {".json": _json, ".csv": _csv, ".parquet": _parquet}
    try:
        yield from readers.get(path.suffix.lower(), _json_lines)(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the questions in {str(path)!r} cannot be read: {error}") from error


def _json_lines(path: Path) -> Iterator[tuple[str, DataRow]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(filter(str.strip, lines), 1):
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{where}: {error}; {ROW}") from error


def _json(path: Path) -> Iterator[tuple[str, DataRow]]:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if isinstance(document, dict):
        document = next((value for value in document.values() if isinstance(value, list)), None)
    if not isinstance(document, list):
        raise ConfigError(f"{path} is neither a list of questions nor an object that holds one")
    for number, row in enumerate(document, 1):
        yield f"{path}, row {number}", row


def _csv(path: Path) -> Iterator[tuple[str, DataRow]]:
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            yield f"{path}, row {number}", row


def _parquet(path: Path) -> Iterator[tuple[str, DataRow]]:
    parquet = optional("pyarrow.parquet", "pyarrow")
    arrow = optional("pyarrow", "pyarrow")
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except arrow.ArrowInvalid as error:
        raise ConfigError(f"{path} is no Parquet file: {error}") from error


ROW = 'a line is an object with `question`, `answer`, and if need be `id` and `grade` ("value" or "text")'
