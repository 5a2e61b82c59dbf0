"""An agent with three tools and a question that takes two of them; its thinking is shown while it is written.

python examples/llamaindex_agent.py [SMALL LARGE]
"""

import asyncio
import sys

from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult

from glimp_llamaindex import GlimpLLM

QUESTION = "How much do 12 boxes of pears cost? Look up the price of one box, then multiply."


def price_of(item: str) -> float:
    """Look up the price of one box of an item, in euros."""
    return {"apples": 3.5, "pears": 4.25, "plums": 5.0}.get(item.strip().lower(), 4.0)


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


def opening_hours(day: str) -> str:
    """Say when the shop is open on a day of the week."""
    return "closed" if day.lower() == "sunday" else "8 to 18"


async def main(llm: GlimpLLM) -> None:
    agent = FunctionAgent(
        tools=[price_of, multiply, opening_hours],
        llm=llm,
        system_prompt="You help in a shop. Use the tools.",
        allow_parallel_tool_calls=False,
    )
    handler = agent.run(user_msg=QUESTION)
    async for event in handler.stream_events():
        if isinstance(event, AgentStream):
            print(event.thinking_delta or event.delta, end="", flush=True)
        elif isinstance(event, ToolCallResult):
            print(f"\n[{event.tool_name}({event.tool_kwargs}) = {event.tool_output.content}]")
    print(f"\n\n{await handler}")


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    asyncio.run(main(GlimpLLM(small, large, temperature=0.6)))
