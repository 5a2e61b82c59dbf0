"""Two agents in one workflow: the clerk looks prices up and hands over to the cashier, who adds them.

python examples/llamaindex_handoff.py [SMALL LARGE]
"""

import asyncio
import sys

from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent

from glimp_llamaindex import GlimpLLM

QUESTION = "What do a box of pears and a box of plums cost together?"
PRICES = {"apples": 3.5, "pears": 4.25, "plums": 5.0}


def price_of(item: str) -> float:
    """Look up the price of one box of an item, in euros."""
    return PRICES.get(item.strip().lower(), 4.0)


def add(a: float, b: float) -> float:
    """Add two prices."""
    return a + b


async def main(llm: GlimpLLM) -> None:
    clerk = FunctionAgent(
        name="clerk",
        description="Looks prices up.",
        system_prompt="Look up the price of each item, then hand off to the cashier.",
        tools=[price_of],
        llm=llm,
        can_handoff_to=["cashier"],
    )
    cashier = FunctionAgent(
        name="cashier",
        description="Adds prices and tells the customer.",
        system_prompt="Add the prices that were looked up, then answer.",
        tools=[add],
        llm=llm,
    )
    handler = AgentWorkflow(agents=[clerk, cashier], root_agent="clerk").run(user_msg=QUESTION)
    async for event in handler.stream_events():
        if isinstance(event, AgentOutput):
            calls = ", ".join(f"{call.tool_name}({call.tool_kwargs})" for call in event.tool_calls)
            print(f"{event.current_agent_name}: {calls or event.response.content}")
    await handler


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    asyncio.run(main(GlimpLLM(small, large, temperature=0.6)))
