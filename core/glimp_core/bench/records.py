"""What became of each question, kept as JSON Lines so that a run can be broken off and taken up again."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from glimp_core.bench.methods import Method
from glimp_core.bench.published import Question
from glimp_core.completion import Completion
from glimp_core.errors import ConfigError
from glimp_core.trace.reading import Run
from glimp_core.trace.schema import Head, line_adapter

VERSION = 2


@dataclass(frozen=True, slots=True)
class Record:
    """One question answered by one method; `repeat` counts the replies to it, each with a seed of its own.

    `seconds` is wall time, `cpu_seconds` what this process used of the processor meanwhile, `small_seconds` and
    `large_seconds` are time inside forwards and sampling. Tokens are those of the reply by writer; `discarded_tokens`
    were written and thrown away. `decisions` has an object for each routed step: `intervene`, and the `entropy` and
    `margin` of the glimpse or the `measure` of the step tried. `trace` holds the lines of the reply's trace, `asked` is
    the digest of the question.
    """

    method: str
    value: float | None
    question: str
    asked: str
    repeat: int
    correct: bool
    expected: str
    answer: str
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
    trace: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the reply."""
        return self.small_tokens + self.large_tokens

    @property
    def interventions(self) -> int:
        """How many routed steps the large model wrote."""
        return sum(bool(decision["intervene"]) for decision in self.decisions)

    @property
    def completion(self) -> Completion | None:
        """The reply as it was written, None where it failed."""
        if not self.trace:
            return None
        head, *lines = (line_adapter.validate_python(line) for line in self.trace)
        assert isinstance(head, Head)
        run = Run(head, [head.start])
        for line in lines:
            run.add(line)
        return run.completion

    @property
    def reasoning(self) -> str:
        """The thinking, as it was written."""
        return self.completion.reasoning if self.completion else ""


Key = tuple[str, float | None, str, int]


class Ledger:
    """The records of a run, in memory and, given a `path`, in a file that they are appended to from the first one on.

    `run` says what was run: pair, sampling, question set. A line is on the disk before `add` returns, so that neither
    a kill nor a power cut costs more than the reply that was being written. Nothing is written before the first `add`.
    Raises `ConfigError` for a file of another run, and for a question that was asked in other words there.
    """

    def __init__(self, path: Path | None = None, run: Mapping[str, Any] | None = None):
        self.run = dict(run or {})
        self._path = path
        self._records: dict[Key, Record] = {}
        self._begun = False
        self._end: int | None = None
        if path and path.exists() and path.stat().st_size:
            self._read(path)
            self._begun = True

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def get(self, method: Method, question: Question, repeat: int = 0) -> Record | None:
        """Return the record of one question, None if it has not been answered."""
        record = self._records.get((method.name, method.value, question.id, repeat))
        if record and record.asked != question.digest:
            raise ConfigError(
                f"question {question.id!r} was asked in other words in {self._path}: choose another --out"
            )
        return record

    def add(self, record: Record) -> None:
        """Keep one more record."""
        self._records[_key(record)] = record
        if self._path:
            if not self._begun:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._append({"glimp_bench": VERSION, "run": self.run})
                self._begun = True
            self._append(asdict(record))

    def of(self, method: Method) -> list[Record]:
        """Return all records of a method."""
        return [record for key, record in self._records.items() if key[:2] == (method.name, method.value)]

    def _append(self, entry: Mapping[str, Any]) -> None:
        assert self._path
        with self._path.open("ab") as file:
            if self._end is not None:  # a run that was killed leaves half a line
                file.truncate(self._end)
                self._end = None
            file.write(json.dumps(entry, ensure_ascii=False).encode(errors="replace") + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        whole, end, _ = path.read_bytes().rpartition(b"\n")
        self._end = len(whole + end)
        lines = whole.decode().splitlines()
        try:
            header, *entries = map(json.loads, lines)
            if header["glimp_bench"] != VERSION:
                raise KeyError(f"format {header['glimp_bench']}")
            records = [_record(entry) for entry in entries]
            self._records = {_key(record): record for record in records}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no file of results ({error}): choose another --out") from error
        self._check(path, header["run"])

    def _check(self, path: Path, before: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self.run))
        other = [f"{name}={before.get(name)!r}, now {now.get(name)!r}" for name in now if before.get(name) != now[name]]
        if other:
            raise ConfigError(f"{path} holds the results of another run ({'; '.join(other)}): choose another --out")


@contextmanager
def held(path: Path | None) -> Iterator[None]:
    """Keep other runs off a file of results, by a lock on `path` with ".lock" behind it; without a path, do nothing.

    Raises `ConfigError` if another run has the file.
    """
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(f"another run is writing {path}: wait until it ends, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def _key(record: Record) -> Key:
    return record.method, record.value, record.question, record.repeat


def _record(entry: dict[str, Any]) -> Record:
    return Record(**{**entry, "decisions": tuple(entry["decisions"]), "trace": tuple(entry["trace"])})
