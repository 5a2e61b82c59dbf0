"""Reasoning: kept apart from the answer, shown while it is written, not sent back for ever."""

import json

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ThinkingBlock, ToolCallBlock

from adapters.llamaindex_checks.hooks import QUESTION, Hooks, Reply, read, usage

THOUGHT = "Two and two.\n\nThat is {four}."


def thoughts(response: ChatResponse) -> str:
    """Return the reasoning of a reply."""
    return "".join(block.content or "" for block in response.message.blocks if isinstance(block, ThinkingBlock))


class Thinking(Hooks):
    """Checks of models that think."""

    async def test_reasoning_is_apart(self) -> None:
        """Reasoning is in one ThinkingBlock, with its size, and in no text."""
        llm = self.scripted("It is 4.", thinking=THOUGHT)
        for response in (llm.chat(QUESTION), await llm.achat(QUESTION)):
            assert response.message.content == "It is 4."
            assert thoughts(response) == THOUGHT
            (block,) = (block for block in response.message.blocks if isinstance(block, ThinkingBlock))
            assert block.num_tokens
        assert llm.complete("Two and two?").text == (await llm.acomplete("Two and two?")).text == "It is 4."

    async def test_reasoning_is_shown_while_it_is_written(self) -> None:
        """`thinking_delta` is the channel that agents read; the deltas are empty texts meanwhile."""
        llm = self.scripted("It is 4.", thinking=THOUGHT)
        for made in (llm.stream_chat(QUESTION), await llm.astream_chat(QUESTION)):
            stream = await read(made)
            assert stream.check() == "It is 4."
            deltas = [chunk.additional_kwargs.get("thinking_delta") or "" for chunk in stream.chunks]
            assert "".join(deltas) == THOUGHT == thoughts(stream.last)
            assert sum(map(bool, deltas)) > 1

    async def test_completions_show_the_answer_alone(self) -> None:
        """A completion stream has no chunk for the thinking."""
        llm = self.scripted("It is 4.", thinking=THOUGHT)
        for made in (llm.stream_complete("Two and two?"), await llm.astream_complete("Two and two?")):
            stream = await read(made)
            assert stream.check() == "It is 4."
            assert all(chunk.text for chunk in stream.chunks)

    def test_reasoning_is_counted(self) -> None:
        """Reasoning tokens are completion tokens, and named."""
        counts = usage(self.scripted("It is 4.", thinking=THOUGHT).chat(QUESTION))
        assert 0 < counts["completion_tokens_details"]["reasoning_tokens"] < counts["completion_tokens"]  # type: ignore[index]

    def test_old_reasoning_is_not_sent_back(self) -> None:
        """Memories do not count reasoning, so that of earlier turns must not fill the prompt."""
        llm = self.scripted("It is 4.", thinking=THOUGHT)
        reply = llm.chat(QUESTION).message
        plain = ChatMessage(reply.content, role="assistant")
        with_thoughts, without = (llm.chat([*QUESTION, said, *QUESTION]) for said in (reply, plain))
        assert usage(with_thoughts)["prompt_tokens"] == usage(without)["prompt_tokens"]

    def test_replies_can_be_stored(self) -> None:
        """A reply with reasoning and calls can be written as JSON and comes back: chat stores do that."""
        llm = self.scripted(Reply(calls=(("add", {"a": 2}),)), thinking=THOUGHT)
        parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
        message = llm.chat(
            QUESTION, tools=[{"type": "function", "function": {"name": "add", "parameters": parameters}}]
        ).message
        again = ChatMessage.model_validate_json(message.model_dump_json())
        assert again == message
        json.dumps(message.additional_kwargs)
        assert any(isinstance(block, ToolCallBlock) for block in again.blocks)
