"""Structured output: a plain model that fills a schema, and an agent that uses a tool and then answers in one.

python examples/langchain_structured.py [SMALL LARGE]
"""

import sys
from typing import Literal

from langchain.agents import create_agent
from pydantic import BaseModel, Field

from glimp_langchain import ChatGlimp


class Ticket(BaseModel):
    """A request to the support desk."""

    summary: str = Field(description="the problem in at most ten words")
    urgency: Literal["low", "normal", "high"]
    customer: str


class Reply(BaseModel):
    """What to tell a customer."""

    customer: str
    order_number: int
    arrives: str


def order_of(customer: str) -> str:
    """Find the open order of a customer."""
    return f"{customer} has order 4711, which arrives on Friday"


def main(llm: ChatGlimp) -> None:
    text = "Mara here. The printer is on fire! Please come at once."
    print(repr(llm.with_structured_output(Ticket).invoke(text)))
    for partial in llm.with_structured_output(Ticket.model_json_schema()).stream(text):
        print(partial)

    agent = create_agent(llm, [order_of], response_format=Reply, system_prompt="Look orders up.")
    print(repr(agent.invoke({"messages": [("human", "When does Ann's order arrive?")]})["structured_response"]))


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(ChatGlimp(small=small, large=large, temperature=0))
