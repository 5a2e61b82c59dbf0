"""A LangGraph graph that streams the thinking of its nodes, coloured by who writes: small green, large red.

python examples/langchain_graph.py [SMALL LARGE]
"""

import asyncio
import sys
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph
from rich.console import Console

from glimp_langchain import ChatGlimp

COLOURS = {"small": "green", "large": "red"}


def graph_of(llm: ChatGlimp) -> Any:
    """One node drafts an answer, the next one checks it. Neither knows that it is streamed."""

    async def draft(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    async def check(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke([*state["messages"], ("human", "Is that right? Answer briefly.")])]}

    graph = StateGraph(MessagesState).add_node("draft", draft).add_node("check", check)
    return graph.add_edge(START, "draft").add_edge("draft", "check").compile()


async def main(llm: ChatGlimp) -> None:
    console, colour, node = Console(highlight=False), "white", ""
    question = {"messages": [("human", "A pen and a pad cost 11 euros; the pad is 10 dearer. What is the pen?")]}
    async for chunk, info in graph_of(llm).astream(question, stream_mode="messages"):
        if node != info["langgraph_node"]:
            node = info["langgraph_node"]
            console.rule(node)
        for step in chunk.additional_kwargs.get("glimp", {}).get("steps", []):
            colour = COLOURS[step["model"]]
            if step["phase"] == "answer":
                console.print("\n", end="")
        thought = chunk.additional_kwargs.get("reasoning_content", "")
        console.print(thought, end="", style=colour, markup=False)
        console.print(chunk.text, end="", style=f"bold {colour}", markup=False)
    console.print()


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    asyncio.run(main(ChatGlimp(small=small, large=large, temperature=0.6, max_reasoning_tokens=1000)))
