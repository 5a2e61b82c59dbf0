"""Ctrl-C at any moment: the command ends with 130, says nothing of it, and leaves the terminal as it was."""

import os
import random
import signal
import sys
import termios
import time
from collections import Counter

import pytest

from cli.terminals import HERE, terminal

UP = "glimp is up"
"""From here on Ctrl-C is Glimp's: Python's own start comes before, which shows a traceback."""

PROGRAM = f"""
from glimp_core.cli.process import catch_interrupts
catch_interrupts()
print({UP!r}, flush=True)
"""
SCRIPTED = f"{PROGRAM}import runpy; runpy.run_path({str(HERE / 'scripted_glimp.py')!r}, run_name='__main__')"
REAL = f"{PROGRAM}from glimp_core.cli import main; main()"

PAIR = ("--small", "glimp-tiny-small", "--large", "glimp-tiny-large")
LONG = "Start with 5. " + "Then add 3. " * 250
COMMANDS = (("run", "2+2?", *PAIR), ("run", LONG, *PAIR), ("demo",), ("chat", *PAIR), ("check", *PAIR), ("--help",),
            ("calibrate", "--n", "4", *PAIR), ("bench", "speed"), ("serve", "--port", "0", *PAIR))  # fmt: skip


def scripted_program(*arguments: str) -> list[str]:
    return [sys.executable, "-c", SCRIPTED, *arguments]


def real_program(*arguments: str) -> list[str]:
    return [sys.executable, "-c", REAL, *arguments]


def interrupted(seconds: float, *arguments: str, real: bool = False) -> int:
    """Interrupt a command so many seconds after Glimp's first module is there; returns its exit code."""
    with terminal(*arguments, program=real_program if real else scripted_program) as window:
        window.until(lambda text: UP in text)
        before = termios.tcgetattr(window.end)
        time.sleep(seconds)
        os.kill(window.process.pid, signal.SIGINT)
        code = window.leave()
        after, shown = termios.tcgetattr(window.end), window.shown
    where = (seconds, arguments, code, shown[-2000:])
    assert "Traceback" not in shown, where
    assert "Error" not in shown, where
    # it may have been done by then; in the interpreter's own end a signal is the system's, and shells show 130 for it
    assert code in (130, 0, -signal.SIGINT), where
    assert after == before, where
    assert shown.rfind("\x1b[?25l") <= shown.rfind("\x1b[?25h"), where
    return code


def test_ctrl_c_at_drawn_moments() -> None:
    """Law: whenever the signal comes, in the first imports or in the reply, nobody sees more than that it ended."""
    draws = random.Random(1)
    codes = Counter(interrupted(draws.choice([0.02, 0.3, 2]) * draws.random(), "run", "2+2?") for _ in range(15))
    assert codes[130] > 7


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ctrl_c_at_100_moments_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The same with real models: while they are imported, loaded, prefilled, and while they write."""
    draws, codes = random.Random(2), Counter[str]()
    for number in range(100):
        arguments = COMMANDS[number % len(COMMANDS)]
        codes[
            f"{arguments[0]} {interrupted(draws.choice([0.05, 1, 4, 12]) * draws.random(), *arguments, real=True)}"
        ] += 1
    with capsys.disabled():
        print(f"\n100 interrupts: {dict(sorted(codes.items()))}")
    assert sum(count for code, count in codes.items() if code.endswith("130")) > 50
