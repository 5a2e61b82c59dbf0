"""Families with channels of their own, through both adapters: thoughts as thoughts, calls as calls, streamed or not."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock, ToolCallBlock
from llama_index.core.tools import FunctionTool

from glimp_core import RouterConfig
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM
from reciting import reciting, tokenizer

TOOLS = "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}"
HARMONY = (
    "{{ '<|start|>system<|message|>' }}" + TOOLS + "{{ '<|end|>' }}{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ '<|start|>functions.' + m.name + ' to=assistant<|channel|>commentary<|message|>'"
    " + m.content + '<|end|>' }}{% elif m.role == 'assistant' %}"
    "{% if m.reasoning_content %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.reasoning_content"
    " + '<|end|>' }}{% endif %}{% for c in m.tool_calls or [] %}{{ '<|start|>assistant to=functions.'"
    " + c.function.name + '<|channel|>commentary json<|message|>' }}{{ c.function.arguments | tojson }}"
    "{{ '<|call|>' }}{% endfor %}{% if not m.tool_calls %}{{ '<|start|>assistant<|channel|>final<|message|>'"
    " + m.content + '<|return|>' }}{% endif %}{% else %}"
    "{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}{# <|constrain|> #}"
)
GEMMA = (
    "{{ '<|turn>system\\n' }}{% if enable_thinking %}{{ '<|think|>' }}{% endif %}" + TOOLS + "{{ '<turn|>\\n' }}"
    "{% for m in messages %}{{ '<|turn>' + m.role + '\\n' }}{% if m.reasoning_content %}"
    "{{ '<|channel>thought\\n' + m.reasoning_content + '\\n<channel|>' }}{% endif %}"
    "{% for c in m.tool_calls or [] %}{{ '<|tool_call>call:' + c.function.name + '{' }}"
    "{% for k, v in c.function.arguments | dictsort %}{{ k + ':' }}{% if v is string %}"
    "{{ '<|\"|>' + v + '<|\"|>' }}{% else %}{{ v | tojson }}{% endif %}{% if not loop.last %}{{ ',' }}{% endif %}"
    "{% endfor %}{{ '}<tool_call|>' }}{% endfor %}{{ (m.content or '') + '<turn|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn>assistant\\n' }}{% endif %}"
)
THOUGHT = {
    "harmony": "<|channel|>analysis<|message|>I add.\n\nThree.<|end|><|start|>assistant",
    "gemma": "<|channel>thought\nI add.\n\nThree.\n<channel|>",
}
SAYS = {"harmony": "<|channel|>final<|message|>It is 3.", "gemma": "It is 3."}
CALLS = {
    "harmony": ' to=functions.add<|channel|>commentary json<|message|>{"first": 1, "second": "2"}',
    "gemma": '<|tool_call>call:add{first:1,second:<|"|>2<|"|>}<tool_call|>',
}
ARGUMENTS = {"first": 1, "second": "2"}
families = pytest.mark.parametrize("family", ["harmony", "gemma"])


def add(first: int, second: str) -> int:
    """Add a number and a numeral."""
    return first + int(second)


def pair(family: str, text: str) -> dict[str, Any]:
    tokens = tokenizer(
        {"harmony": HARMONY, "gemma": GEMMA}[family] + "{# <|constrain|> <|return|> #}" * (family == "harmony")
    )
    small, large = (reciting(tokens, THOUGHT[family] + text) for _ in range(2))
    config = RouterConfig(speculate=False, max_reasoning_tokens=100, reasoning_effort="high")
    return {"small": small, "large": large, "config": config, "temperature": 0.0, "max_tokens": 200}


@families
async def test_langchain(family: str) -> None:
    """Law: whole, streamed and async replies have the thought as a reasoning block, and words or a call beside it."""
    llm = ChatGlimp(**pair(family, SAYS[family]))
    streamed: Any = None
    for chunk in llm.stream("1 + 2?"):
        streamed = chunk if streamed is None else streamed + chunk
    for message in (llm.invoke("1 + 2?"), streamed, await llm.ainvoke("1 + 2?")):
        assert isinstance(message, AIMessage)
        kinds = {block["type"]: block for block in message.content_blocks}
        assert str(kinds["reasoning"]["reasoning"]).strip() == "I add.\n\nThree."
        assert message.text == "It is 3."


@families
async def test_langchain_calls(family: str) -> None:
    """Law: calls are calls, in chunks too, free or demanded, and the markup shows nowhere."""
    llm = ChatGlimp(**pair(family, CALLS[family]))
    for choice in ("auto", "any"):
        bound = llm.bind_tools([add], tool_choice=choice)
        streamed: Any = None
        fragments = 0
        async for chunk in bound.astream("1 + 2?"):
            assert isinstance(chunk, AIMessageChunk)
            fragments += bool(chunk.tool_call_chunks)
            streamed = chunk if streamed is None else streamed + chunk
        for message in (bound.invoke("1 + 2?"), streamed):
            assert [(call["name"], call["args"]) for call in message.tool_calls] == [("add", ARGUMENTS)]
            assert message.text.strip() == ""
            assert "I add." in message.additional_kwargs["reasoning_content"]
        assert fragments > 2


@families
async def test_llamaindex(family: str) -> None:
    """Law: the same as a ThinkingBlock and a ToolCallBlock."""
    llm = GlimpLLM(**pair(family, SAYS[family]))
    question = [ChatMessage("1 + 2?")]
    for reply in (llm.chat(question), [*llm.stream_chat(question)][-1], await llm.achat(question)):
        (thought,) = [block for block in reply.message.blocks if isinstance(block, ThinkingBlock)]
        assert (thought.content or "").strip() == "I add.\n\nThree."
        assert reply.message.content == "It is 3."
    caller = GlimpLLM(**pair(family, CALLS[family]))
    tool = FunctionTool.from_defaults(add)
    replies = [caller.chat_with_tools([tool], user_msg="1 + 2?"),
               [*caller.stream_chat_with_tools([tool], user_msg="1 + 2?")][-1],
               await caller.achat_with_tools([tool], user_msg="1 + 2?", tool_required=True)]  # fmt: skip
    for reply in replies:
        (call,) = [block for block in reply.message.blocks if isinstance(block, ToolCallBlock)]
        assert (call.tool_name, call.tool_kwargs) == ("add", ARGUMENTS)
        assert (reply.message.content or "").strip() == ""
