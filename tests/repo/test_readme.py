"""What README and docs/ show is true: Python blocks and commands run, `make` has the verbs, the algorithm is the code.

Blocks of one page share their names and run in order. Models from the hub are replaced by the bundled pair. A `text`
block right after a Python block is what that block prints. A `toml` block is the pair.toml of the blocks after it. A
block after `<!-- not run: why -->` is only read.
"""

import ast
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glimp_core import algorithm
from glimp_core.cli import main
from glimp_core.pair_file import read_pairs

ROOT = Path(__file__).parents[2]
PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
HUB = {"Qwen/Qwen3-0.6B": "glimp-tiny-small", "Qwen/Qwen3-8B": "glimp-tiny-large"}
NEITHER_RUN_NOR_WRONG = {"pip", "git", "cd", "export", ".", "vllm", "curl"}
"""What a reader types around Glimp itself."""
SERVED = ROOT / "docs" / "serve.md"
"""Its Python blocks talk to an endpoint; tests/serve/test_documentation.py runs them, and every `glimp serve`."""


@dataclass
class Block:
    """One fenced block of a page."""

    line: int
    language: str
    text: str
    after: str

    @property
    def runnable(self) -> str:
        """The text with small models in place of the hub's."""
        text = self.text
        for name, tiny in HUB.items():
            text = text.replace(name, tiny)
        return text


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        skipped, language, body = match.groups()
        if language in languages and not skipped:
            following = re.match(r"\s*```text\n(.*?)```", text[match.end() :], re.DOTALL)
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(line, language, body, following[1] if following else ""))
    return found


def commands() -> list[Any]:
    lines = []
    for page in PAGES:
        for block in blocks(page, "console", "sh", "bash", "shell"):
            typed = block.runnable.replace("\\\n", " ").splitlines()
            prompted = block.language == "console"
            lines += [
                line.removeprefix("$ ") for line in typed if line.startswith("$ ") or (not prompted and line.strip())
            ]
    return [line for line in dict.fromkeys(lines) if not line.startswith("#")]


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def is_the_algorithm(block: Block) -> bool:
    return block.text.startswith("def route(")


@pytest.mark.parametrize("page", [page for page in PAGES if page != SERVED], ids=lambda page: page.name)
def test_python_blocks_run_and_print_what_they_say(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python block of a page runs, in order and in one namespace, and prints what stands under it."""
    monkeypatch.chdir(tmp_path)
    run_python(page)


def run_python(page: Path, replaced: tuple[str, str] = ("", "")) -> None:
    """Run the Python blocks of a page, an address of an endpoint replaced by another one."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(page, "python", "toml"):
        if is_the_algorithm(block):
            continue
        if block.language == "toml":
            Path("pair.toml").write_text(block.runnable)
            assert read_pairs("pair.toml")
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            source = block.runnable.replace(*replaced) if replaced[0] else block.runnable
            exec(compile("\n" * block.line + source, str(page), "exec"), namespace)
        if block.after:
            assert lines(printed.getvalue()) == lines(block.after), f"{page.name}:{block.line}"


@pytest.mark.parametrize("line", commands())
def test_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command line that is shown works: `glimp` runs, `make` has the verb, examples are there."""
    words = shlex.split(line, comments=True)
    (tmp_path / "pair.toml").write_text('small = "glimp-tiny-small"\nlarge = "glimp-tiny-large"\n')
    if words[0] == "make":
        verbs = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(verbs)
    elif words[:2] == ["glimp", "serve"]:
        assert "tests/serve runs it"
    elif words[0] == "glimp" and "|" not in words:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        for command in line.partition(" #")[0].removesuffix(" < /dev/null").split(" && "):
            run_here(command)
    elif words[0] == "glimp":
        run_in_shell(line, tmp_path)
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] in NEITHER_RUN_NOR_WRONG, f"what should a test do with `{line}`?"


def run_here(command: str) -> None:
    """Run a command of `glimp` in this process, which has imported torch already."""
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command)[1:])
    assert left.value.code == 0, command


def run_in_shell(line: str, folder: Path) -> None:
    """Run a whole command line."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = os.environ | {"NO_COLOR": "1", "PATH": path}
    done = subprocess.run(line, shell=True, cwd=folder, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_the_algorithm_that_is_shown_is_the_code() -> None:
    """The body of `route` that the README and docs/how-it-works.md show is the one that runs, docstring apart."""
    shown = [block for page in PAGES for block in blocks(page, "python") if is_the_algorithm(block)]
    assert len(shown) == 2
    (source,) = ast.parse(inspect.getsource(algorithm.route)).body
    assert isinstance(source, ast.FunctionDef)
    assert isinstance(source.body.pop(0), ast.Expr)  # the docstring
    for block in shown:
        assert ast.dump(ast.parse(block.text).body[0]) == ast.dump(source)


def test_the_readme_is_short() -> None:
    """The README stays under 200 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_links_inside_the_repository_lead_somewhere() -> None:
    """Every relative link of a page names a file that is there."""
    for page in [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
