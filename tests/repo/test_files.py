"""The shape of the repository: small files, plain names, a clean top level, layers that hold."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = """
CHANGELOG.md CITATION.cff CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md core docs examples glimp_langchain
glimp_llamaindex mkdocs.yml pyproject.toml tests tools
""".split()  # noqa: SIM905
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base_utils"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 40
"""In lines. Longer ones are usually two; the numbers are no reason to cut a sentence or to join what is apart."""


def tracked(root: Path, *patterns: str) -> list[str]:
    if not (root / ".git").exists():
        pytest.skip("no git checkout")
    done = subprocess.run(["git", "ls-files", *patterns], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_top_level_is_tidy(root: Path) -> None:
    """Besides dotfiles, only the known names stand at the top, and `core` is no package."""
    tops = {name.partition("/")[0] for name in tracked(root)}
    assert {top for top in tops if not top.startswith(".")} <= set(TOP)
    assert "core/__init__.py" not in tracked(root, "core")


def test_no_file_is_long(root: Path) -> None:
    """A file of more than 400 lines asks to be two."""
    lengths = {
        name: len((root / name).read_text().splitlines()) for name in tracked(root, "*.py") if (root / name).exists()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_long(root: Path) -> None:
    """A function of more than 40 lines asks to be two."""
    lengths = {
        f"{name}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name in tracked(root, "core/*.py", "glimp_*/*.py")
        if (root / name).exists()
        for node in ast.walk(ast.parse((root / name).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_every_result_says_where_it_comes_from(root: Path) -> None:
    """What experiments and benchmarks keep has its command, commit and machine, and all of it is under 1 MB."""
    for folder in ("experiments", "benchmarks"):
        results = root / "examples" / folder / "results"
        documents = [json.loads(path.read_text()) for path in results.glob("*.json")]
        assert documents
        assert all(document["command"] and document["commit"] and document["machine"] for document in documents)
        assert sum(path.stat().st_size for path in results.iterdir()) < 1_000_000


def test_no_module_has_a_vague_name(root: Path) -> None:
    """No module is a drawer for leftovers."""
    assert [name for name in tracked(root, "*.py") if set(Path(name).with_suffix("").parts) & VAGUE] == []


def test_the_layers_hold(root: Path) -> None:
    """The import contracts of pyproject.toml are kept."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
