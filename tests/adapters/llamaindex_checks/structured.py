"""Structured prediction: objects of a class, whole and growing."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.llm import LLM
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from adapters.llamaindex_checks.hooks import Hooks, Reply, read, recorded


class Song(BaseModel):
    """A song."""

    name: str
    seconds: int


SONG = Song(name="Ann", seconds=3)
TEXT = SONG.model_dump_json()
CALL = Reply(calls=(("Song", SONG.model_dump()),))
PROMPT = PromptTemplate("A song about {topic}.")


class Structured(Hooks):
    """Checks of `structured_predict` and what stands on it."""

    async def _objects(self, llm: LLM, **kwargs: Any) -> list[Any]:
        """The final objects of the four ways to predict one."""
        asked = (Song, PROMPT)
        return [
            llm.structured_predict(*asked, topic="Ann", **kwargs),
            await llm.astructured_predict(*asked, topic="Ann", **kwargs),
            list(llm.stream_structured_predict(*asked, topic="Ann", **kwargs))[-1],
            [part async for part in await llm.astream_structured_predict(*asked, topic="Ann", **kwargs)][-1],
        ]

    async def test_objects(self) -> None:
        """All four ways return the object."""
        assert await self._objects(self.scripted(TEXT)) == [SONG] * 4

    async def test_objects_after_thinking(self) -> None:
        """Reasoning with braces in it is no part of the object."""
        assert await self._objects(self.scripted(TEXT, thinking='First {"name": 1}, then.')) == [SONG] * 4

    @pytest.mark.parametrize(("mode", "reply"), [(PydanticProgramMode.FUNCTION, CALL), (PydanticProgramMode.LLM, TEXT)])
    async def test_program_modes(self, mode: PydanticProgramMode, reply: Any) -> None:
        """The programs that a user chooses work as well."""
        llm = self.scripted(reply)
        llm.pydantic_program_mode = mode
        assert await self._objects(llm) == [SONG] * 4

    async def test_events(self) -> None:
        """Start and end are dispatched around each, and the parts of a stream in between."""
        llm = self.scripted(TEXT)
        with recorded() as recorder:
            await self._objects(llm)
        assert len(recorder.of("LLMStructuredPredictStartEvent")) == 4
        assert [event.output for event in recorder.of("LLMStructuredPredictEndEvent")] == [SONG] * 4
        assert len(recorder.of("LLMChatStartEvent")) == 4
        assert recorder.of("LLMStructuredPredictInProgressEvent")

    async def test_growing_objects(self) -> None:
        """A streamed object grows: a field is there before the whole is."""
        parts = list(self.scripted(TEXT).stream_structured_predict(Song, PROMPT, topic="Ann"))
        assert any(getattr(part, "name", None) == "Ann" and getattr(part, "seconds", None) is None for part in parts)
        assert isinstance(parts[-1], Song)

    async def test_system_prompt(self) -> None:
        """The LLM's system prompt is sent, in the async ways too."""
        llm = self.scripted(TEXT)
        llm.system_prompt = "You know songs."
        with recorded() as recorder:
            await self._objects(llm)
        for event in recorder.of("LLMChatStartEvent"):
            assert event.messages[0].role == "system"
            assert "You know songs." in str(event.messages[0].content)

    async def test_arguments_stay_as_they_are(self) -> None:
        """The caller's llm_kwargs are not changed, and reach the LLM."""
        llm_kwargs = {"max_tokens": 300, "tool_choice": None}
        with recorded() as recorder:
            assert await self._objects(self.scripted(TEXT), llm_kwargs=llm_kwargs) == [SONG] * 4
        assert llm_kwargs == {"max_tokens": 300, "tool_choice": None}
        assert all(event.additional_kwargs["max_tokens"] == 300 for event in recorder.of("LLMChatStartEvent"))

    async def test_failure(self) -> None:
        """A reply that is no such object is a ValueError that shows it: extractors catch nothing else."""
        with pytest.raises(ValueError, match="no song today"):
            self.scripted("no song today").structured_predict(Song, PROMPT, topic="Ann")
        with pytest.raises(ValueError, match="no song today"):
            await self.scripted("no song today").astructured_predict(Song, PROMPT, topic="Ann")

    async def test_structured_llm(self) -> None:
        """as_structured_llm answers chats with objects."""
        structured = self.scripted(TEXT).as_structured_llm(Song)
        messages = [ChatMessage("A song with {braces}.", role="user")]
        assert structured.chat(messages).raw == (await structured.achat(messages)).raw == SONG
        assert (await read(await structured.astream_chat(messages))).last.raw == SONG

    async def test_function_program(self) -> None:
        """A FunctionCallingProgram gets its object, streamed too: it reads calls from additional_kwargs."""
        program = FunctionCallingProgram.from_defaults(Song, prompt=PROMPT, llm=self.scripted(CALL))
        assert program(topic="Ann") == await program.acall(topic="Ann") == SONG
        assert list(program.stream_call(topic="Ann"))[-1] == SONG
        assert [part async for part in await program.astream_call(topic="Ann")][-1] == SONG

    async def test_text_program(self) -> None:
        """An LLMTextCompletionProgram finds the object in the text, whatever was thought."""
        program = LLMTextCompletionProgram.from_defaults(
            output_cls=Song, prompt=PROMPT, llm=self.scripted(f"Here: {TEXT}", thinking="{a} b")
        )
        assert program(topic="Ann") == await program.acall(topic="Ann") == SONG
