"""What is shown of ChatGlimp runs: every block of its docstring, and the examples."""

import ast
import asyncio
import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import tiny
from adapters.good_model import Endless, good_router
from glimp_core import GlimpRouter
from glimp_langchain import ChatGlimp

EXAMPLES = Path(__file__).parents[2] / "examples"
SECTIONS = [
    "Setup", "Completion params", "Client params", "Instantiate", "Invoke", "Stream", "Async", "Tool calling",
    "Structured output", "JSON mode", "Token usage", "Logprobs", "Response metadata", "Reasoning", "Routing",
]  # fmt: skip


def docstring() -> str:
    return inspect.getdoc(ChatGlimp) or ""


def test_the_docstring_has_the_sections_that_users_know() -> None:
    """The sections of LangChain's template are there, in its order, and some of our own."""
    places = [docstring().find(f"\n{section}") for section in SECTIONS]
    assert -1 not in places
    assert places == sorted(places)


async def test_every_block_of_the_docstring_runs() -> None:
    """The code in the docstring runs from top to bottom, in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", docstring(), re.DOTALL)
    assert len(blocks) > 10
    namespace: dict[str, Any] = {"router": good_router()}
    for block in blocks:
        code = inspect.cleandoc("\n" + block).replace('small="Qwen/Qwen3-0.6B", large="Qwen/Qwen3-8B"', "router=router")
        compiled = compile(code, "ChatGlimp", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(compiled, namespace)
        if inspect.isawaitable(result):
            await result
    assert namespace["message"].content == "You said: What is 17 times 23?"


def example(name: str) -> Any:
    """The `main` of an example."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.fixture
def llm() -> ChatGlimp:
    return ChatGlimp(router=good_router())


def test_the_chain_answers(llm: ChatGlimp, capsys: pytest.CaptureFixture[str]) -> None:
    """The chain streams one answer and batches three."""
    example("langchain_chain")(llm)
    assert capsys.readouterr().out.count("You said: In one sentence") == 4


def test_the_agent_uses_its_tools(llm: ChatGlimp, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent calls a tool, gets its result and says who wrote how much."""
    example("langchain_agent")(llm)
    shown = capsys.readouterr().out
    assert "Name: multiply" in shown
    assert "144.0" in shown
    assert "steps, tokens: small" in shown


def test_the_structured_agent_fills_its_schemas(llm: ChatGlimp, capsys: pytest.CaptureFixture[str]) -> None:
    """Both schemas come back as instances, and the first grows while it streams."""
    example("langchain_structured")(llm)
    shown = capsys.readouterr().out
    assert "Ticket(summary='Mara here." in shown
    assert "Reply(customer=" in shown
    assert "{'summary': 'Mara'}" in shown


async def test_the_graph_shows_who_writes(llm: ChatGlimp, capsys: pytest.CaptureFixture[str]) -> None:
    """Both nodes stream their thinking and their answer."""
    await example("langchain_graph")(llm)
    shown = capsys.readouterr().out
    assert shown.count("I know how to help.") == 2
    assert re.search("─ draft ─.*─ check ─", shown, re.DOTALL)


async def test_the_cancelled_calls_leave_a_free_model(capsys: pytest.CaptureFixture[str]) -> None:
    """All four ways out are taken, and the model answers after them."""
    engine = Endless()
    llm = ChatGlimp(router=GlimpRouter(engine, engine))
    await asyncio.wait_for(example("langchain_cancel")(llm, seconds=0.05), 60)
    shown = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in shown] == ["timeout", "wait_for", "task", "stream", "free again"]
    assert "You said: What is 2 + 2?"[:20] in shown[-1]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("langchain_*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    """Examples stay under 60 lines and begin with what they show and the command."""
    text = path.read_text()
    assert len(text.splitlines()) < 60
    assert f"python examples/{path.name} [SMALL LARGE" in text


def test_the_rag_chain_answers_from_what_it_found(
    llm: ChatGlimp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documents are embedded by a real model, the nearest two are in the prompt, and both questions are answered."""
    tiny.model().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    example("langchain_rag")(llm, str(tmp_path))
    first, *_ = shown = capsys.readouterr().out.split("What does a student pay a month? -> ")[1:]
    assert len(shown) == 1
    notes = first.split("Question:")[0].splitlines()[1:]
    assert len([note for note in notes if note]) == 2
