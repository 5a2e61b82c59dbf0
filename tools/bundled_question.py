"""Ask the bundled pair one question by the door that is named, and fail if the reply is not the known one.

`tools/compat.py` runs this in environments where Glimp is installed: `python bundled_question.py ChatGlimp`.
"""

import json
import sys

SMALL, LARGE = "glimp-tiny-small", "glimp-tiny-large"
THRESHOLD = 0.3
QUESTION = "Start with 5 and count modulo 31. First *8. Second +3. Third *8. What is the result?"
ANSWER = "The result is 3."
THINKING = "9 now."
"""What the large model writes in the thinking, at the step that the small one was seldom taught."""


def expect(what: str, found: object, expected: object) -> None:
    """End with a message unless both are equal."""
    if found != expected:
        sys.exit(f"{what} is {found!r}, expected {expected!r}")


def by_router(**options: str) -> None:
    """Ask through the core, whole and streamed."""
    from glimp_core import Delta, EntropyThreshold, GlimpRouter

    router = GlimpRouter.from_pretrained(SMALL, LARGE, policy=EntropyThreshold(THRESHOLD), **options)
    done = router.generate(QUESTION)
    expect("the answer", done.answer.strip(), ANSWER)
    expect("9 in the thinking", THINKING in done.reasoning, True)
    expect("the number of interventions", sum(routed.decision.intervene for routed in done.routed), 2)
    streamed = "".join(event.text for event in router.stream(QUESTION) if isinstance(event, Delta))
    expect("the streamed text", streamed, done.reasoning + done.answer)


def by_langchain() -> None:
    """Ask through the LangChain chat model, whole and streamed."""
    from glimp_langchain import ChatGlimp

    model = ChatGlimp(small=SMALL, large=LARGE, threshold=THRESHOLD)
    message = model.invoke(QUESTION)
    expect("the answer", message.text.strip(), ANSWER)
    expect("9 in the thinking", THINKING in message.additional_kwargs["reasoning_content"], True)
    expect("the kinds of content", [block["type"] for block in message.content_blocks], ["reasoning", "text"])
    expect("the streamed text", "".join(chunk.text for chunk in model.stream(QUESTION)), message.text)


def by_llamaindex() -> None:
    """Ask through the LlamaIndex LLM, whole and streamed."""
    from llama_index.core.llms import ChatMessage

    from glimp_llamaindex import GlimpLLM

    model = GlimpLLM(small=SMALL, large=LARGE, threshold=THRESHOLD)
    response = model.chat([ChatMessage(QUESTION)])
    expect("the answer", (response.message.content or "").strip(), ANSWER)
    expect("9 in the thinking", THINKING in response.message.blocks[0].content, True)
    streamed = "".join(part.delta or "" for part in model.stream_chat([ChatMessage(QUESTION)]))
    expect("the streamed text", streamed, response.message.content)


def by_grammar() -> None:
    """Ask for JSON, which llguidance holds the pair to: the pair has never seen any."""
    from glimp_core import EntropyThreshold, GlimpRouter

    schema = {"type": "object", "properties": {"x": {"enum": [12]}}, "required": ["x"], "additionalProperties": False}
    router = GlimpRouter.from_pretrained(SMALL, LARGE, policy=EntropyThreshold(THRESHOLD))
    form = {"type": "json_schema", "json_schema": {"name": "result", "schema": schema}}
    expect("the JSON", json.loads(router.generate(QUESTION, response_format=form).answer), {"x": 12})


def placed() -> None:
    """Ask through the core with models that accelerate has placed."""
    by_router(device_map="cpu")


def what_is_asked() -> None:
    """Print the question and its answer, for the command line."""
    print(json.dumps({"question": QUESTION, "answer": ANSWER, "threshold": str(THRESHOLD)}))


DOORS = {
    "GlimpRouter": by_router,
    "ChatGlimp": by_langchain,
    "GlimpLLM": by_llamaindex,
    "grammar": by_grammar,
    "device_map": placed,
}

if __name__ == "__main__":
    {**DOORS, "asked": what_is_asked}[sys.argv[1]]()
