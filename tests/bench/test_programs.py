"""Programs of models are run with limits, and nothing of them stays."""

import os
import time
from pathlib import Path

import pytest

from glimp_core.bench.programs import ProgramCase, last_program, passes, run_case, same_output

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of a child are POSIX")
ECHO = ProgramCase("2\n", "2\n")


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "x = bytearray(2**40)",
        "raise ValueError",
        "import sys; sys.exit(3)",
        "def",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); print(input())",
        "while True: print('2' * 2**20)",
    ],
)
def test_a_program_that_goes_wrong_is_wrong(program: str) -> None:
    """Endless, asleep, greedy, failing, no Python, talkative, or at its limits: no answer, and soon."""
    started = time.monotonic()
    assert run_case(program, ECHO, seconds=0.5) is None
    assert time.monotonic() - started < 5


def test_a_program_leaves_nothing_behind(tmp_path: Path) -> None:
    """A child that it started is gone when its time is over, and so is its folder."""
    mark = tmp_path / "late"
    program = (
        "import os, time\nfolder = os.getcwd()\n"
        f"if os.fork() == 0:\n    time.sleep(0.5)\n    open({str(mark)!r}, 'w').close()\nprint(folder)"
    )
    folder = run_case(program, ECHO)
    assert folder
    assert not Path(folder.strip()).exists()
    time.sleep(0.8)
    assert not mark.exists()


def test_a_program_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the user is not passed on."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run_case("import os; print(os.environ.get('HF_TOKEN'))", ECHO) == "None\n"


def test_all_cases_have_to_pass() -> None:
    """One case that fails is enough; without a program nothing passes."""
    cases = [ECHO, ProgramCase("3\n", "3\n")]
    assert passes(lambda: cases, fenced("print(input())"))
    assert not passes(lambda: cases, fenced("print(2)"))
    assert not passes(lambda: cases, "print(input())")


def test_a_function_is_called_with_json() -> None:
    """Arguments stand one a line; what the program prints does not count; tuples are lists."""
    case = ProgramCase('[1, 2]\n"ab"', '[[1, 2], "ab"]', "both")
    assert passes(lambda: [case], fenced("def both(a, b):\n    print('noise')\n    return a, b"))
    assert passes(lambda: [case], fenced("class Solution:\n    def both(self, a, b):\n        return a, b"))
    assert not passes(lambda: [case], fenced("def other(a, b):\n    return a, b"))


@pytest.mark.parametrize(
    ("reply", "program"),
    [
        ("```\na\n```", "a\n"),
        ("```python\na\n```\n```py\nb\n```", "b\n"),
        ("```python\na\n```\n```cpp\nb\n```", "a\n"),
        ("```python\nnever closed", None),
        ("no code", None),
    ],
)
def test_the_last_python_block_is_the_program(reply: str, program: str | None) -> None:
    """Other languages are no programs, and an open block is cut short."""
    assert last_program(reply) == program


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [("1\n2", "1\n2\n", True), ("1 2", "1\n2", False), ("0.50", "0.5", True), ("1e1", "10", True), ("a", "A", False)],
)
def test_output_is_compared_by_lines_and_numbers(expected: str, printed: str, same: bool) -> None:
    """Blanks at ends do not count, words do, numbers are numbers."""
    assert same_output(expected, printed) == same
