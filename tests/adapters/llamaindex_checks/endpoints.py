"""The eight endpoints: what they take, what they return, and the laws of their streams."""

import copy
import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    MessageRole,
    TextBlock,
)
from llama_index.core.prompts import PromptTemplate

from adapters.llamaindex_checks.hooks import QUESTION, Hooks, read

PROMPT = "What is two and two?"
PIXEL = b"\x89PNG\r\n\x1a\n"


class Endpoints(Hooks):
    """Checks of single calls."""

    async def test_whole_replies(self) -> None:
        """chat, complete and their async forms return a response with a text."""
        llm = self.llm()
        for response in (llm.chat(QUESTION), await llm.achat(QUESTION)):
            assert isinstance(response, ChatResponse)
            assert response.message.role == MessageRole.ASSISTANT
            assert response.message.content
        for completion in (llm.complete(PROMPT), await llm.acomplete(PROMPT)):
            assert isinstance(completion, CompletionResponse)
            assert completion.text

    async def test_arguments_by_name(self) -> None:
        """Messages and prompts may be given by name."""
        llm = self.llm()
        assert llm.chat(messages=QUESTION).message.content
        assert llm.complete(prompt=PROMPT).text
        assert (await llm.acomplete(prompt=PROMPT)).text

    async def test_prompt_arguments(self) -> None:
        """A missing prompt is a ValueError, one given twice a TypeError."""
        llm = self.llm()
        with pytest.raises(ValueError, match=r"[Nn]o prompt"):
            llm.complete()  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            llm.complete(PROMPT, prompt=PROMPT)  # type: ignore[misc]
        with pytest.raises(ValueError, match=r"[Nn]o prompt"):
            await llm.acomplete()  # type: ignore[call-arg]

    async def test_streams_are_generators(self) -> None:
        """Streams are real generators: the callbacks recognise nothing else."""
        llm = self.llm()
        assert isinstance(llm.stream_chat(QUESTION), Generator)
        assert isinstance(llm.stream_complete(PROMPT), Generator)
        for made in (llm.astream_chat(QUESTION), llm.astream_complete(PROMPT)):
            assert inspect.iscoroutine(made)
            stream = await made
            assert isinstance(stream, AsyncGenerator)
            await stream.aclose()

    async def test_chat_streams(self) -> None:
        """Texts are cumulative, deltas incremental, and both streams say what the whole reply says."""
        llm = self.llm()
        whole = llm.chat(QUESTION).message.content
        assert (await read(llm.stream_chat(QUESTION))).check() == whole
        assert (await read(await llm.astream_chat(QUESTION))).check() == whole

    async def test_completion_streams(self) -> None:
        """The same law holds for completions, where every chunk has a text to show."""
        llm = self.llm()
        whole = llm.complete(PROMPT).text
        for stream in (llm.stream_complete(PROMPT), await llm.astream_complete(PROMPT)):
            chunks = await read(stream)
            assert chunks.check() == whole
            assert all(chunk.text for chunk in chunks.chunks)

    async def test_last_chunk_is_the_whole_reply(self) -> None:
        """The last chunk is the message that agents keep: its blocks are those of the whole reply."""
        llm = self.llm()
        whole = llm.chat(QUESTION).message
        for stream in (llm.stream_chat(QUESTION), await llm.astream_chat(QUESTION)):
            assert (await read(stream)).last.message.model_dump() == whole.model_dump()

    async def test_one_text_block(self) -> None:
        """A reply has exactly one text block: `content` joins several with line breaks of its own."""
        blocks = self.llm().chat(QUESTION).message.blocks
        assert sum(isinstance(block, TextBlock) for block in blocks) == 1

    async def test_empty_replies(self) -> None:
        """A model that says nothing gives an empty text, and a stream of at least one chunk."""
        llm = self.scripted("")
        assert (llm.chat(QUESTION).message.content, llm.complete(PROMPT).text) == ("", "")
        for stream in (llm.stream_chat(QUESTION), llm.stream_complete(PROMPT), await llm.astream_chat(QUESTION)):
            assert (await read(stream)).check() == ""

    async def test_complete_is_a_user_turn(self) -> None:
        """A chat model's `complete` sends the prompt as one user message."""
        llm = self.llm()
        if not llm.metadata.is_chat_model:
            pytest.skip("this is no chat model")
        assert llm.complete(PROMPT).text == llm.chat([ChatMessage(PROMPT, role="user")]).message.content

    @pytest.mark.parametrize("name", ["max_tokens"])
    async def test_arguments_of_a_call_win(self, name: str) -> None:
        """A keyword argument of a call wins over the LLM's own setting."""
        llm = self.llm()
        long, short = llm.chat(QUESTION).message.content or "", llm.chat(QUESTION, **{name: 2}).message.content or ""
        assert len(short) < len(long)

    async def test_foreign_arguments(self) -> None:
        """Arguments meant for servers are tolerated: LlamaIndex's extractors send them."""
        llm = self.llm()
        assert llm.chat(QUESTION, extra_headers={"anthropic-beta": "prompt-caching"}).message is not None
        assert (await llm.achat(QUESTION, max_tokens=4, extra_headers={})).message is not None

    @pytest.mark.parametrize("role", list(MessageRole))
    async def test_roles(self, role: MessageRole) -> None:
        """A message of every role is taken, in the middle of a conversation too."""
        said: dict[str, Any] = {"additional_kwargs": {"tool_call_id": "abc123def"}} if role == MessageRole.TOOL else {}
        messages = [*QUESTION, ChatMessage("Four.", role=role, **said), *QUESTION]
        assert self.llm().chat(messages).message.role == MessageRole.ASSISTANT

    async def test_unusual_conversations(self) -> None:
        """System last, two user turns running, several text blocks, no content, a cache point: agents send them all."""
        user, assistant = MessageRole.USER, MessageRole.ASSISTANT
        cache = CachePoint(cache_control=CacheControl(type="ephemeral"))
        system = ChatMessage("Be brief.", role="system")
        conversations = [
            [system, *QUESTION, ChatMessage("Sum up.", role="system")],
            [*QUESTION, *QUESTION],
            [ChatMessage(role=user, blocks=[TextBlock(text="Two"), cache, TextBlock(text="and two?")])],
            [*QUESTION, ChatMessage(role=assistant, content=None), *QUESTION],
        ]
        for messages in conversations:
            assert self.llm().chat(messages).message is not None

    async def test_messages_stay_as_they_are(self) -> None:
        """Neither the list nor the messages of the caller are changed."""
        messages = [ChatMessage("Be brief.", role="system"), *QUESTION, ChatMessage(role="assistant"), *QUESTION]
        before = copy.deepcopy(messages)
        llm = self.llm()
        llm.chat(messages)
        await read(await llm.astream_chat(messages))
        assert messages == before

    async def test_hidden_keys_stay_hidden(self) -> None:
        """What is in additional_kwargs is no text: the prompt stays the same."""
        marked = [ChatMessage("What is two and two?", role="user", additional_kwargs={"session_id": "x" * 400})]
        llm = self.llm()
        assert llm.chat(marked).message.content == llm.chat(QUESTION).message.content

    async def test_images_are_refused(self) -> None:
        """A block that a text model cannot read is a ValueError that names it."""
        messages = [ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(image=PIXEL)])]
        with pytest.raises(ValueError, match="ImageBlock"):
            self.llm().chat(messages)

    async def test_too_long_a_prompt(self) -> None:
        """A prompt that leaves no room in the window is a ValueError with the numbers, in chat and in streams."""
        llm = self.llm()
        window = llm.metadata.context_window
        messages = [ChatMessage("two and " * window, role="user")]
        for attempt in (lambda: llm.chat(messages), lambda: list(llm.stream_chat(messages))):
            with pytest.raises(ValueError, match=rf"\b{window}\b"):
                attempt()

    async def test_prompt_templates(self) -> None:
        """predict, stream, apredict and astream give the same text."""
        llm, prompt = self.llm(), PromptTemplate("What is {a} and {a}?")
        whole = llm.predict(prompt, a="two")
        assert whole
        assert "".join(llm.stream(prompt, a="two")) == whole
        assert await llm.apredict(prompt, a="two") == whole
        assert "".join([token async for token in await llm.astream(prompt, a="two")]) == whole
