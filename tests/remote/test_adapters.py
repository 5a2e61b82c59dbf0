"""Remote models behind LangChain, LlamaIndex, the examples and a pair in this process."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage

import tiny
from glimp_core import AlwaysLarge, GlimpRouter, RandomRate
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM
from remote.kit import ANSWER, STEPS, TOKENS, TOP20, engine, glimpser, script
from remote.scripts import Served
from remote.served import ScriptedServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def served() -> Iterator[Served]:
    with ScriptedServer(script()) as large:
        yield large


def test_a_mixed_pair_behind_langchain(served: Served) -> None:
    """A small model in this process and a large one at a server are one chat model."""
    llm = ChatGlimp(small=tiny.engine(tokens=TOKENS), large=engine(served), threshold=0.0)
    said = llm.invoke([HumanMessage("What is two and two?")])
    assert said.text == ANSWER
    assert said.additional_kwargs["reasoning_content"] == "".join(STEPS)
    assert len(served.asked) == len(STEPS) + 1


def test_a_mixed_pair_behind_llamaindex(served: Served) -> None:
    """A small model in this process and a large one at a server are one LLM."""
    llm = GlimpLLM(small=tiny.engine(tokens=TOKENS), large=engine(served), threshold=0.0)
    said = llm.chat([ChatMessage("What is two and two?")])
    assert said.message.content == ANSWER
    assert "".join(chunk.delta or "" for chunk in llm.stream_complete("What is two and two?")).endswith(ANSWER)


def test_models_of_two_tokenizers_in_two_places(served: Served) -> None:
    """A local model of another vocabulary hands its text to the server's."""
    small = tiny.engine(tokens=tiny.tokenizer(merges=["\n\n", "he", "on"]))
    router = GlimpRouter(small, engine(served), AlwaysLarge())
    done = router.generate("What is two and two?")
    assert (done.reasoning, done.answer) == ("".join(STEPS), ANSWER)


def test_the_example_with_two_servers(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """examples/remote_vllm.py shows the steps with their writers, and the whole reply."""
    main: Any = runpy.run_path(str(EXAMPLES / "remote_vllm.py"))["main"]
    with ScriptedServer(script()) as small:
        main(glimpser(small), engine(served), "What is two and two?")
    shown = capsys.readouterr().out
    assert shown.count("[small, H ") == len(STEPS)
    assert ANSWER in shown


def test_the_example_with_llamacpp(capsys: pytest.CaptureFixture[str]) -> None:
    """examples/remote_llamacpp.py lists the steps and prints the answer."""
    main: Any = runpy.run_path(str(EXAMPLES / "remote_llamacpp.py"))["main"]
    with ScriptedServer(script(), "llamacpp") as large, ScriptedServer(script()) as small:
        main(GlimpRouter(glimpser(small), engine(large), RandomRate(0.5), TOP20), "What is two and two?")
    assert ANSWER in capsys.readouterr().out
