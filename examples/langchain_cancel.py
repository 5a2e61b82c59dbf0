"""Ways out of a long answer: a time limit, a cancelled task, a stream that is left. The models stop within a token.

python examples/langchain_cancel.py [SMALL LARGE]
"""

import asyncio
import sys
from time import perf_counter

from langchain_core.exceptions import ModelTimeoutError

from glimp_langchain import ChatGlimp

LONG = "Write a long story about a lighthouse."


async def main(llm: ChatGlimp, seconds: float = 2.0) -> None:
    llm.warm_up()

    try:
        await llm.ainvoke(LONG, timeout=seconds)
    except ModelTimeoutError as error:
        print("timeout:", error)

    try:
        await asyncio.wait_for(llm.ainvoke(LONG), seconds)
    except TimeoutError:
        print("wait_for: given up")

    task = asyncio.create_task(llm.ainvoke(LONG))
    await asyncio.sleep(seconds)
    task.cancel()
    print("task:", *await asyncio.gather(task, return_exceptions=True))

    count = 0
    async for _ in llm.astream(LONG):
        if (count := count + 1) == 10:
            break
    print("stream: left after", count, "chunks")

    started = perf_counter()
    answer = await llm.ainvoke("What is 2 + 2?", reasoning=False, max_tokens=20)
    print(f"free again: {answer.text!r} in {perf_counter() - started:.1f} seconds")


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    asyncio.run(main(ChatGlimp(small=small, large=large, temperature=0.6)))
