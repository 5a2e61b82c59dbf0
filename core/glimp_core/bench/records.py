"""What became of each question, kept as JSON Lines so that a run can be broken off and taken up again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glimp_core.bench.methods import Method
from glimp_core.errors import ConfigError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One question answered by one method.

    `seconds` is wall time, `cpu_seconds` what this process used of the processor meanwhile, `small_seconds` and
    `large_seconds` are time inside forwards and sampling. Tokens are
    those of the reply by writer; `discarded_tokens` were written and thrown away. `decisions` has an object for each
    routed step: `intervene`, and the `entropy` and `margin` of the glimpse or the `measure` of the step tried.
    """

    method: str
    value: float | None
    question: str
    correct: bool
    expected: str
    answer: str
    reasoning: str
    finish_reason: str
    thinking_end: str | None
    seconds: float
    cpu_seconds: float
    small_seconds: float
    large_seconds: float
    small_tokens: int
    large_tokens: int
    discarded_tokens: int
    decisions: tuple[Mapping[str, Any], ...]
    error: str | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the reply."""
        return self.small_tokens + self.large_tokens

    @property
    def interventions(self) -> int:
        """How many routed steps the large model wrote."""
        return sum(bool(decision["intervene"]) for decision in self.decisions)


Key = tuple[str, float | None, str]


class Ledger:
    """The records of a run, in memory and, given a `path`, in a file that they are appended to.

    `run` says what was run: pair, sampling, question set. Raises `ConfigError` for a file of another run.
    """

    def __init__(self, path: Path | None = None, run: Mapping[str, Any] | None = None):
        self.run = dict(run or {})
        self._path = path
        self._records: dict[Key, Record] = {}
        if path and path.exists() and path.stat().st_size:
            self._read(path)
        elif path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"glimp_bench": VERSION, "run": self.run})

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def get(self, method: Method, question: str) -> Record | None:
        """Return the record of one question, None where it has not been answered."""
        return self._records.get((method.name, method.value, question))

    def add(self, record: Record) -> None:
        """Keep one more record."""
        self._records[record.method, record.value, record.question] = record
        if self._path:
            self._append(asdict(record))

    def of(self, method: Method) -> list[Record]:
        """Return all records of a method."""
        return [record for key, record in self._records.items() if key[:2] == (method.name, method.value)]

    def _append(self, entry: Mapping[str, Any]) -> None:
        assert self._path
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _read(self, path: Path) -> None:
        whole, _, broken = path.read_bytes().rpartition(b"\n")
        if broken:  # a run that was killed leaves half a line
            with path.open("r+b") as file:
                file.truncate(len(whole) + 1 if whole else 0)
        lines = whole.decode().splitlines()
        try:
            header, *entries = map(json.loads, lines)
            if header["glimp_bench"] != VERSION:
                raise KeyError(f"format {header['glimp_bench']}")
            records = [Record(**{**entry, "decisions": tuple(entry["decisions"])}) for entry in entries]
            self._records = {(record.method, record.value, record.question): record for record in records}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no file of results ({error}): choose another --out") from error
        self._check(path, header["run"])

    def _check(self, path: Path, before: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self.run))
        other = [f"{name}={before.get(name)!r}, now {now.get(name)!r}" for name in now if before.get(name) != now[name]]
        if other:
            raise ConfigError(f"{path} holds the results of another run ({'; '.join(other)}): choose another --out")
