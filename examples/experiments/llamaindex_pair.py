"""What GlimpLLM does with a real pair: an agent, five schemas, a cited answer, four calls at once.

python examples/experiments/llamaindex_pair.py [SMALL LARGE [agent] [objects] [cited] [together]]

Greedy, in float32. Prints what comes back; the last line is one JSON document.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Awaitable
from datetime import date
from typing import Any, Literal

from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.workflow.errors import WorkflowRuntimeError
from pydantic import BaseModel, Field

from glimp_core import GlimpError
from glimp_llamaindex import GlimpLLM


def price_of(item: str) -> float:
    """Look up the price of one box of an item, in euros."""
    return {"apples": 3.5, "pears": 4.25, "plums": 5.0}.get(item.strip().lower(), 4.0)


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


def opening_hours(day: str) -> str:
    """Say when the shop is open on a day of the week."""
    return "closed" if day.lower() == "sunday" else "8 to 18"


def home_of(customer: str) -> str:
    """Look up the city where a customer lives."""
    return {"ada": "Lyon"}.get(customer.strip().lower(), "unknown")


def weather_in(city: str) -> str:
    """Say what the weather is like in a city."""
    return {"lyon": "heavy rain, 12 degrees"}.get(city.strip().lower(), "sunny, 25 degrees")


def phone_of(customer: str) -> str:
    """Look up the telephone number of a customer."""
    return f"no number known for {customer}"


PROMPT = "You help in a shop. Use the tools. When you know enough, give the customer the facts that you found out."
CUSTOMERS, SHOP = (home_of, weather_in, phone_of), (price_of, multiply, opening_hours)
TASKS = {
    "In which city does our customer Ada live, and what is the weather like there?": (CUSTOMERS, ("Lyon", "rain")),
    "How much do 12 boxes of pears cost? Look up the price of one box, then multiply.": (SHOP, ("51",)),
    "What is the price of a box of plums, and is the shop open on Sunday?": (SHOP, ("5", "closed")),
}
"""Questions that take two of three tools, in turn and side by side, and what their answers hold."""


async def agent(llm: GlimpLLM) -> list[dict[str, Any]]:
    """A FunctionAgent with three tools has questions that take two of them; one that does not come to an end fails."""
    told: list[dict[str, Any]] = []
    for question, (tools, words) in TASKS.items():
        worker = FunctionAgent(tools=list(tools), llm=llm, system_prompt=PROMPT)
        try:
            output = await worker.run(user_msg=question, max_iterations=8)
        except WorkflowRuntimeError as error:
            told.append({"question": question, "error": str(error), "right": False})
            continue
        calls = [f"{call.tool_name}({json.dumps(call.tool_kwargs)})" for call in output.tool_calls]
        used = {call.tool_name for call in output.tool_calls}
        right = len(used) > 1 and all(word in str(output) for word in words)
        told.append({"question": question, "calls": calls, "answer": str(output), "right": right})
    return told


class Person(BaseModel):
    """A person; what is not known is null."""

    name: str
    age: int | None
    email: str | None


class Line(BaseModel):
    """One line of an order."""

    item: str
    count: int = Field(ge=1)


class Order(BaseModel):
    """An order."""

    number: str = Field(pattern=r"^[A-Z]{2}-\d{3}$")
    placed: date
    lines: list[Line] = Field(max_length=4)


class Ticket(BaseModel):
    """A request for help."""

    kind: Literal["bug", "question", "praise"]
    urgent: bool
    words: list[str] = Field(min_length=1, max_length=3, description="key words")


class Folder(BaseModel):
    """A folder and those in it."""

    name: str
    folders: list["Folder"] = []


class Stock(BaseModel):
    """How many pieces of each item there are."""

    pieces: dict[str, int]


SCHEMAS: dict[type[BaseModel], str] = {
    Person: "Ann Lee is 34. She has no mail address.",
    Order: "Order AB-123 of 2 March 2026: three lamps and one table.",
    Ticket: "The program crashes at every start, and we have to ship today! Please help.",
    Folder: "The folder home has the folders music and work; work has the folder old.",
    Stock: "In the cellar are 12 bottles, 3 chairs and 1 ladder.",
}


def objects(llm: GlimpLLM) -> dict[str, Any]:
    """structured_predict for each of the five classes."""
    prompt = PromptTemplate("Fill in the fields from this text.\n\n{text}")
    made: dict[str, Any] = {}
    for kind, text in SCHEMAS.items():
        try:
            made[kind.__name__] = llm.structured_predict(kind, prompt, text=text).model_dump(mode="json")
        except GlimpError as error:
            made[kind.__name__] = f"no object: {error}"
    return {"valid": sum(isinstance(one, dict) for one in made.values()), "of": len(made), "made": made}


FACTS = (
    "The north workshop opens at nine and closes at six.",
    "Members of the north workshop pay 20 euros a month, students half of that.",
    "The south workshop has a laser cutter and opens at ten.",
)


def cited(llm: GlimpLLM) -> dict[str, Any]:
    """A query engine answers from three texts, of which the second has the answer."""
    nodes = [TextNode(text=fact) for fact in FACTS]
    engine = CitationQueryEngine.from_args(SummaryIndex(nodes), llm=llm)
    response = engine.query("What do members of the north workshop pay a month?")
    sources = [int(number) for number in re.findall(r"\[(\d+)\]", str(response))]
    texts = [response.source_nodes[number - 1].text for number in sources if number <= len(response.source_nodes)]
    right = "20" in str(response) and any(FACTS[1] in text for text in texts)
    return {"answer": str(response), "cited": texts, "right": right}


QUESTIONS = [f"What is {number} times 3? Answer in one short sentence." for number in (7, 8, 9, 12)]


async def together(llm: GlimpLLM) -> dict[str, Any]:
    """Four calls at once say what four single ones say, and the event loop goes on."""
    asked = [[ChatMessage(question)] for question in QUESTIONS]
    started = time.perf_counter()
    alone = [llm.chat(messages).message.content for messages in asked]
    single = time.perf_counter() - started
    gaps = await _gaps(asyncio.gather(*(_answer(llm, messages, alone) for messages in asked)))
    return {
        "equal": sum(gaps.pop("result")),
        "of": len(asked),
        "answers": alone,
        "seconds_one_by_one": round(single, 2),
        **gaps,
    }


async def _answer(llm: GlimpLLM, messages: list[ChatMessage], expected: list[Any]) -> bool:
    return (await llm.achat(messages)).message.content == expected[QUESTIONS.index(str(messages[0].content))]


async def _gaps(work: Awaitable[Any], pause: float = 0.01) -> dict[str, Any]:
    """Await something while a ticker sleeps `pause` seconds again and again; returns what it saw."""
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(pause)
            gaps.append(time.perf_counter() - before)

    ticker, started = asyncio.create_task(tick()), time.perf_counter()
    result = await work
    seconds = time.perf_counter() - started
    ticker.cancel()
    longest, middle = max(gaps, default=seconds), sorted([*gaps, seconds])[len(gaps) // 2]
    seen = {"ticks": len(gaps), "longest_gap_ms": round(longest * 1000, 1), "median_gap_ms": round(middle * 1000, 1)}
    return {"result": result, "seconds_together": round(seconds, 2), **seen}


SHOWS = {"agent": agent, "objects": objects, "cited": cited, "together": together}


def main(llm: GlimpLLM, *names: str) -> None:
    report = {}
    for name in names or SHOWS:
        made = SHOWS[name](llm)
        report[name] = asyncio.run(made) if asyncio.iscoroutine(made) else made
        print(f"{name}: {json.dumps(report[name], indent=1, ensure_ascii=False)}", flush=True)
    print(json.dumps({"pair": llm.metadata.model_name, **report}, ensure_ascii=False))


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(GlimpLLM(small, large, temperature=0, dtype="float32"), *sys.argv[3:])
