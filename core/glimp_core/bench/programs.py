"""Runs programs that models wrote on test cases, in a child process with limits of time and memory.

The limits stop a program that runs too long or uses too much memory. They are not a sandbox: a program can read and
write the files of its user.
"""

import base64
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from glimp_core.errors import ConfigError

SECONDS = 6.0
"""Wall time of one test case (LiveCodeBench's own limit)."""

MEMORY = 4 * 2**30
"""Bytes of address space of a program (LiveCodeBench's own limit)."""

FENCED = re.compile(r"```[ \t]*(\w*)[ \t]*\n(.*?)```", re.DOTALL)
CHILD = Path(__file__).parent / "child.py"


@dataclass(frozen=True, slots=True)
class ProgramCase:
    """What a program is given on stdin and what it should print; with a `function`, arguments and result as JSON."""

    given: str
    expected: str
    function: str = ""


def passes(cases: Callable[[], Iterable[ProgramCase]], reply: str) -> bool:
    """Tell whether the program in a reply passes all cases; it is not run on those after the first that it fails."""
    program = last_program(reply)
    return program is not None and all(_right(case, run_case(program, case)) for case in cases())


def last_program(reply: str) -> str | None:
    r"""Return the last fenced block that is Python, or says nothing of its language.

    >>> last_program("So:\n```python\nprint(1)\n```\nThis prints:\n```text\n1\n```")
    'print(1)\n'
    """
    blocks = [text for language, text in FENCED.findall(reply) if language.lower() in ("", "py", "python", "python3")]
    return blocks[-1] if blocks else None


def run_case(program: str, case: ProgramCase, seconds: float = SECONDS, memory: int = MEMORY) -> str | None:
    """Return what a program prints on a case, None if it fails, is too slow or takes too much memory."""
    with tempfile.TemporaryDirectory(prefix="glimp-program-") as folder:
        Path(folder, "program.py").write_text(program, encoding="utf-8", errors="replace")
        given, printed = Path(folder, "given"), Path(folder, "printed")
        given.write_text(case.given, encoding="utf-8")
        command = [sys.executable, "-I", str(CHILD), str(memory), str(seconds), case.function]
        with given.open("rb") as stdin, printed.open("wb") as stdout:
            child = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, cwd=folder, start_new_session=True,
                env={"PATH": os.defpath, "HOME": folder, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            code = _waited(child, seconds)
        return printed.read_text(encoding="utf-8", errors="replace") if code == 0 else None


def public_cases(listed: Any, function: str) -> Iterator[ProgramCase]:
    """Yield the cases of a list, or its JSON, of objects with `input`, `output` and `testtype`.

    Raises `ValueError`, `KeyError` or `TypeError` for anything else.
    """
    for case in json.loads(listed) if isinstance(listed, str) else listed:
        by_call = case.get("testtype") == "functional"
        if by_call and not function:
            raise ValueError("a functional test case without func_name in metadata")
        yield ProgramCase(str(case["input"]), str(case["output"]), function if by_call else "")


def private_cases(packed: Any, function: str) -> Iterator[ProgramCase]:
    """Yield cases as LiveCodeBench packs them (JSON, pickled as a string, zlib, base64), or what `public_cases` takes.

    The pickle may hold nothing but plain values: one that names anything to be called raises `ValueError`.
    """
    if not isinstance(packed, str) or packed.lstrip()[:1] in ("", "["):
        return public_cases(packed or [], function)
    try:
        return public_cases(_PlainValues(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load(), function)
    except (zlib.error, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"the private test cases cannot be unpacked: {error}") from error


def require_posix() -> None:
    """Raise `ConfigError` on a system that cannot limit the memory of a child."""
    if os.name != "posix":
        raise ConfigError("programs are run with limits that only Linux and macOS have: use one of them, or WSL")


class _PlainValues(pickle.Unpickler):
    """Reads pickles of plain values; a pickle runs code only by naming something to call."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in a pickle of test cases")


def _waited(child: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Return the exit code of a child, None if it was too slow; it and all that it started is gone afterwards."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _right(case: ProgramCase, printed: str | None) -> bool:
    if printed is None:
        return False
    if case.function:
        try:
            return bool(json.loads(printed) == json.loads(case.expected))
        except ValueError:
            return False
    return same_output(case.expected, printed)


def same_output(expected: str, printed: str) -> bool:
    r"""Tell whether two outputs have the same lines, blanks at the ends aside, numbers compared as numbers.

    >>> same_output("1.50 a\n2", "1.5 a \n2\n\n"), same_output("1", "2")
    (True, False)
    """
    lines = [[line.strip() for line in text.strip().splitlines()] for text in (expected, printed)]
    return len(lines[0]) == len(lines[1]) and all(map(_same_line, *lines))


def _same_line(expected: str, printed: str) -> bool:
    if expected == printed:
        return True
    words = expected.split(), printed.split()
    return len(words[0]) == len(words[1]) and all(map(_same_word, *words))


def _same_word(expected: str, printed: str) -> bool:
    try:
        return expected == printed or Decimal(expected) == Decimal(printed)
    except InvalidOperation:
        return False
