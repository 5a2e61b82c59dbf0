"""No call into transformers may leave it open whether a model's own code is run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

OURS = {"GlimpRouter", "LocalEngine"}
"""Whose `from_pretrained` is Glimp's."""

LOADERS = ("from_pretrained", "from_config")


def parsed(root: Path, *folders: str) -> dict[str, ast.AST]:
    """The modules below some folders, by their path."""
    files = [file for folder in folders for file in sorted((root / folder).rglob("*.py"))]
    return {str(file.relative_to(root)): ast.parse(file.read_text()) for file in files}


def loading_calls(module: ast.AST) -> Iterator[ast.Call]:
    """The calls of a loader that transformers, or a library on top of it, has."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS:
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else ""
            if name not in OURS and not name.startswith("Peft"):  # PEFT loads adapters, and has no code to run
                yield node


def refuses_code(call: ast.Call) -> bool:
    """Whether a call says, there and then, that no code of a model is run."""
    return any(
        keyword.arg == "trust_remote_code" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        for keyword in call.keywords
    )


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("AutoConfig.from_pretrained(x)", False),
        ("AutoConfig.from_pretrained(x, **common)", False),
        ("pick(config).from_pretrained(x, trust_remote_code=True)", False),
        ("transformers.AutoModel.from_config(x, trust_remote_code=False)", True),
    ],
)
def test_what_counts_as_refusing(source: str, refused: bool) -> None:
    """The check itself: a keyword that is written there, and False."""
    (call,) = loading_calls(ast.parse(source))
    assert refuses_code(call) == refused


def test_every_loading_call_refuses_code(root: Path) -> None:
    """In the packages, the examples and the tools."""
    modules = parsed(root, "core", "glimp_langchain", "glimp_llamaindex", "examples", "tools")
    calls = [(name, call) for name, module in modules.items() for call in loading_calls(module)]
    assert len(calls) > 5
    assert [f"{name}:{call.lineno}" for name, call in calls if not refuses_code(call)] == []


def test_nothing_reads_stdin_but_the_command_line(root: Path) -> None:
    """Consent cannot be given where nobody listens."""
    readers = [
        f"{name}:{node.lineno}"
        for name, module in parsed(root, "core", "glimp_langchain", "glimp_llamaindex").items()
        for node in ast.walk(module)
        if "/cli/" not in name
        and (
            (isinstance(node, ast.Name) and node.id == "input")
            or (isinstance(node, ast.Attribute) and node.attr == "stdin")
        )
    ]
    assert readers == []
