"""An agent with three tools and a question that takes two of them; shows who thought what.

python examples/langchain_agent.py [SMALL LARGE]
"""

import sys

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from glimp_langchain import ChatGlimp

QUESTION = "How much do 12 boxes of pears cost? Look up the price of one box, then multiply."


@tool
def price_of(item: str) -> float:
    """Look up the price of one box of an item, in euros."""
    return {"apples": 3.5, "pears": 4.25, "plums": 5.0}.get(item.strip().lower(), 4.0)


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


@tool
def opening_hours(day: str) -> str:
    """Say when the shop is open on a day of the week."""
    return "closed" if day.lower() == "sunday" else "8 to 18"


def main(llm: ChatGlimp) -> None:
    agent = create_agent(llm, [price_of, multiply, opening_hours], system_prompt="You know no prices: look them up.")
    for message in agent.invoke({"messages": [("human", QUESTION)]})["messages"]:
        message.pretty_print()
        if isinstance(message, AIMessage):
            share = message.response_metadata["glimp"]
            print(f"[{share['steps']} steps, tokens: small {share['small_tokens']}, large {share['large_tokens']}]")


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(ChatGlimp(small=small, large=large, temperature=0.6))
