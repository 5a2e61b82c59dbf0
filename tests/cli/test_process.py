"""The command as a process: in a pipe, in a terminal, and interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.terminals import PATIENCE, QUIET, scripted, terminal


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = scripted(*arguments)
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=QUIET | environment, timeout=60)


def test_help_imports_no_torch() -> None:
    """`glimp --help` and bad input answer without torch or transformers."""
    program = (
        "import sys\nfrom glimp_core.cli import main\n"
        "for arguments in (['--help'], ['run', ''], ['run', 'x', '--threshold', '-1']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as end: print('\\nended', end.code, {'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ended == ["ended 0 set()", "ended 2 set()", "ended 2 set()"]


def test_a_pipe_gets_plain_text() -> None:
    """A pipe sees no escape sequence on either stream."""
    done = run("run", "2+2?")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "It is 4." in done.stdout


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    """When the reader of a pipe goes away the command stops, without a traceback."""
    process = subprocess.Popen(scripted("run", "2+2?"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=QUIET)
    assert process.stdout
    assert process.stderr
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(PATIENCE) == 1
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_an_output_that_cannot_spell_a_character_does_not_fail() -> None:
    """In an ASCII locale the reply still comes, with what cannot be written replaced."""
    done = run("run", "2+2?", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0
    assert "It is 4." in done.stdout


def test_interrupted_in_a_pipe() -> None:
    """SIGINT ends with 130, without a traceback, after a whole line."""
    process = subprocess.Popen(scripted("run", "2+2?"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=QUIET)
    assert process.stdout
    read = process.stdout.read(120)  # the reply has begun
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert (read + out).endswith(b"\n")
    assert b"It is 4." not in out


def test_a_terminal_gets_colours_by_writer() -> None:
    """In a terminal the two writers have two colours."""
    with terminal("run", "2+2?", "--threshold", "1") as window:
        shown = window.until(lambda text: "(estimate)" in text)
        assert window.leave() == 0
    colours = [re.search(rf"\x1b\[([0-9;]+)m{re.escape(word)}", shown) for word in ("T", "S")]
    assert all(colours)
    assert len({colour[1] for colour in colours if colour}) == 2


def test_no_color_is_respected() -> None:
    """With NO_COLOR a terminal gets no colour."""
    with terminal("run", "2+2?", NO_COLOR="1") as window:
        shown = window.until(lambda text: "(estimate)" in text)
    assert not re.search(r"\x1b\[[0-9;]*\b[34]8;", shown)


def test_ctrl_c_leaves_a_sane_terminal() -> None:
    """Ctrl-C stops the reply at once, with 130, styles reset and the cursor shown."""
    with terminal("run", "2+2?") as window:
        window.until(lambda text: "▏" in text)
        window.type("\x03")
        assert window.leave() == 130  # before the end of the reply, whose figures are not shown
        shown = window.shown
    assert "Traceback" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")
    assert shown.endswith("\r\n") or shown.endswith("\r\n\x1b[0m")
    assert "(estimate)" not in shown


@pytest.mark.parametrize(
    ("keys", "code"),
    [("\x03", 130), *(pytest.param(keys, 0, marks=pytest.mark.slow) for keys in ("/quit\r", "\x04"))],
)
def test_ctrl_c_stops_a_reply_and_keeps_the_chat(keys: str, code: int) -> None:
    """In a chat Ctrl-C ends the reply alone; /quit, Ctrl-D or Ctrl-C at the prompt leave."""
    with terminal("chat") as window:
        window.until(lambda text: "> " in text)
        window.type("one\r")
        window.until(lambda text: "▏" in text)
        window.type("\x03")
        window.until(lambda text: "stopped" in text and text.count("> ") == 2)
        window.type("two\r")
        window.until(lambda text: "5 steps" in text and text.count("> ") == 3)
        time.sleep(0.3)  # between its prompt and its wait for a key, readline is deaf to signals
        window.type(keys)
        assert window.leave() == code


def test_the_history_of_a_chat_is_kept_for_the_next(tmp_path: Path) -> None:
    """What was typed comes back with the arrow key, is its owner's alone to read, and is left out on request."""
    kept = tmp_path / "glimp" / "chat_history"
    for options, first in (["--no-history"], "zero"), ([], "one"):
        with terminal("chat", *options, XDG_STATE_HOME=str(tmp_path)) as window:
            window.until(lambda text: "> " in text)
            window.type(f"{first}\r")
            window.until(lambda text: "5 steps" in text and text.count("> ") == 2)
            time.sleep(0.3)
            window.type("/quit\r")
            assert window.leave() == 0
    assert kept.read_text().split() == ["one", "/quit"]
    assert kept.stat().st_mode & 0o777 == 0o600
    with terminal("chat", XDG_STATE_HOME=str(tmp_path)) as window:
        window.until(lambda text: "> " in text)
        time.sleep(0.3)
        window.type("\x1b[A\x1b[A\r")
        window.until(lambda text: "one\r\n" in text and "5 steps" in text)
        time.sleep(0.3)
        window.type("\x04")
        assert window.leave() == 0


@pytest.mark.parametrize(
    ("command", "locale"),
    [(["run", "-"], {"PYTHONUTF8": "1"}), (["chat"], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})],
)
def test_what_is_not_in_the_encoding_of_stdin_is_refused(command: list[str], locale: dict[str, str]) -> None:
    """A question in Latin-1 is bad input where UTF-8 or ASCII is expected, and is read where its encoding is named."""
    asked, quiet = "Wie groß?\n".encode("latin-1"), {**QUIET, **locale}
    done = subprocess.run(scripted(*command), input=asked, capture_output=True, env=quiet, timeout=60)
    assert (done.returncode, done.stderr.count(b"error:")) == (2, 1)
    assert b"has the byte 0xdf" in done.stderr
    assert b"Traceback" not in done.stderr
    named = {**quiet, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(scripted(*command), input=asked, capture_output=True, env=named, timeout=60)
    assert done.returncode == 0, done.stderr


def test_shells_complete_commands_and_options() -> None:
    """`glimp --show-completion` has a shell ask for what may follow."""
    asking = {"_GLIMP_COMPLETE": "complete_bash", "COMP_WORDS": "glimp cal", "COMP_CWORD": "1"}
    done = subprocess.run(scripted(), capture_output=True, text=True, env=QUIET | asking, timeout=60)
    assert done.stdout.split() == ["calibrate"]


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_survived(closed: int) -> None:
    """Without stdin, stdout or stderr the command does what it does with them."""
    done = subprocess.run(
        scripted("run", "2+2?"), capture_output=True, text=True, env=QUIET, timeout=60,
        preexec_fn=lambda: os.close(closed),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("It is 4." in done.stdout) == (closed != 1)
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_modules_are_imported_ends_at_once() -> None:
    """An interrupt in the middle of an import ends with 130, and nobody takes it for a missing module."""
    program = (
        "import signal, sys, types, importlib.abc, importlib.util\n"
        "from glimp_core.cli.process import catch_interrupts\n"
        "class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        return importlib.util.spec_from_loader(name, self) if name == 'slow_module' else None\n"
        "    def create_module(self, spec): return None\n"
        "    def exec_module(self, module): signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "catch_interrupts()\n"
        "try: import slow_module\n"
        "except BaseException as error: print('seen', type(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
