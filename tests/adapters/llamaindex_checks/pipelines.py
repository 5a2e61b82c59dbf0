"""What is built on an LLM: response modes, chat engines, routers, extractors."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.extractors import (
    DocumentContextExtractor,
    KeywordExtractor,
    QuestionsAnsweredExtractor,
    SummaryExtractor,
)
from llama_index.core.indices.property_graph import DynamicLLMPathExtractor, SchemaLLMPathExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms.llm import LLM
from llama_index.core.postprocessor import LLMRerank, StructuredLLMRerank
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMSingleSelector, PydanticSingleSelector
from llama_index.core.selectors.utils import get_selector_from_llm
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import QueryEngineTool

from adapters.llamaindex_checks.hooks import Hooks, Reply, recorded
from adapters.llamaindex_checks.structured import SONG, Song

NODES = [NodeWithScore(node=TextNode(text=f"Fact {n}: two and two is four."), score=1.0) for n in range(3)]
SILENT = (ResponseMode.NO_TEXT, ResponseMode.CONTEXT_ONLY)
WRITING = [mode for mode in ResponseMode if mode not in SILENT]
WHOLE = (ResponseMode.ACCUMULATE, ResponseMode.COMPACT_ACCUMULATE)
"""Modes that LlamaIndex itself refuses to stream."""
ENGINES = (SimpleChatEngine, ContextChatEngine, CondenseQuestionChatEngine, CondensePlusContextChatEngine)


def index() -> VectorStoreIndex:
    """Three documents, embedded by nothing."""
    documents = [Document(text=f"Fact {n}: two and two is four.") for n in range(3)]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))


class Pipelines(Hooks):
    """Checks of LlamaIndex's own parts over the LLM."""

    @pytest.mark.parametrize("mode", WRITING)
    async def test_response_modes(self, mode: ResponseMode) -> None:
        """Every response mode answers, sync and async."""
        llm = self.llm()
        synthesizer = get_response_synthesizer(response_mode=mode, llm=llm)
        whole = str(synthesizer.synthesize("Two and two?", NODES))
        assert whole
        assert str(await synthesizer.asynthesize("Two and two?", NODES))

    @pytest.mark.parametrize("running", [True, False])
    async def test_async_synthesis(self, running: bool) -> None:
        """`use_async` makes loops of its own, in a thread where a loop runs already."""
        llm = self.llm()
        synthesizer = get_response_synthesizer(response_mode=ResponseMode.TREE_SUMMARIZE, llm=llm, use_async=True)
        call = partial(synthesizer.synthesize, "Two and two?", NODES)
        assert str(call() if running else await asyncio.to_thread(call))

    @pytest.mark.parametrize("mode", [mode for mode in WRITING if mode not in WHOLE])
    async def test_streamed_response_modes(self, mode: ResponseMode) -> None:
        """Every response mode that streams says the same streamed."""
        llm = self.llm()
        streaming = get_response_synthesizer(response_mode=mode, llm=llm, streaming=True)
        whole = get_response_synthesizer(response_mode=mode, llm=llm).synthesize("Two and two?", NODES)
        assert "".join(streaming.synthesize("Two and two?", NODES).response_gen) == str(whole)  # type: ignore[union-attr]
        response: Any = await streaming.asynthesize("Two and two?", NODES)
        assert "".join([token async for token in response.response_gen]) == str(whole)

    async def test_structured_response(self) -> None:
        """A synthesizer with an output class gives an object."""
        synthesizer = get_response_synthesizer(llm=self.scripted(SONG.model_dump_json()), output_cls=Song)
        assert synthesizer.synthesize("A song?", NODES).response == SONG
        assert (await synthesizer.asynthesize("A song?", NODES)).response == SONG

    def _engine(self, kind: Any, llm: LLM) -> Any:
        if kind is SimpleChatEngine:
            return kind.from_defaults(llm=llm)
        if kind is CondenseQuestionChatEngine:
            return kind.from_defaults(query_engine=index().as_query_engine(llm=llm), llm=llm)
        return kind.from_defaults(retriever=index().as_retriever(), llm=llm)

    @pytest.mark.parametrize("kind", ENGINES)
    async def test_chat_engines(self, kind: Any) -> None:
        """Every chat engine chats, over two turns, whole and streamed, sync and async."""
        llm = self.llm()
        engine = self._engine(kind, llm)
        assert str(engine.chat("Two and two?"))
        assert str(await engine.achat("And three?"))
        engine = self._engine(kind, llm)
        assert "".join(engine.stream_chat("Two and two?").response_gen)
        stream = await engine.astream_chat("And three?")
        assert "".join([token async for token in stream.async_response_gen()])
        assert all(message.content for message in engine.chat_history)
        assert len(engine.chat_history) == 4

    async def test_selectors(self) -> None:
        """A RouterQueryEngine chooses by a function call where the LLM says that it can, else by text."""
        choice = {"selections": [{"index": 1, "reason": "It fits."}]}
        llm = self.scripted(Reply(calls=(("MultiSelection", choice),)), "Chosen.")
        selector = get_selector_from_llm(llm)
        assert isinstance(
            selector, PydanticSingleSelector if llm.metadata.is_function_calling_model else LLMSingleSelector
        )
        text = self.scripted('[{"choice": 2, "reason": "It fits."}]', thinking='[{"choice": 1}]')
        assert LLMSingleSelector.from_defaults(text).select(["a", "b"], "Which?").selections[0].index == 1

    async def test_router_query_engine(self) -> None:
        """The chosen engine answers."""
        llm = self.scripted(Reply(calls=(("SingleSelection", {"index": 0, "reason": "It fits."}),)), "It is 4.")
        tool = QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), description="Sums.")
        other = QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), description="Songs.")
        engine = RouterQueryEngine.from_defaults([tool, other], llm=llm)
        assert str(engine.query("Two and two?")) == "It is 4."

    @pytest.mark.parametrize("use_async", [True, False])
    async def test_sub_questions(self, use_async: bool) -> None:
        """A SubQuestionQueryEngine finds its questions in a text, after reasoning with brackets in it."""
        questions = '```json\n{"items": [{"sub_question": "Two and two?", "tool_name": "sums"}]}\n```'
        llm = self.scripted(questions, "Four.", "It is 4.", thinking="{[a]}")
        tool = QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), name="sums", description="Sums.")
        engine = SubQuestionQueryEngine.from_defaults(
            [tool],
            question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
            llm=llm,
            response_synthesizer=get_response_synthesizer(llm=llm),
            use_async=use_async,
            verbose=False,
        )
        assert str(engine.query("Two and two, and then?")) == "It is 4."

    def test_metadata_extractors(self) -> None:
        """Extractors run in an IngestionPipeline, which knows them again by what their LLM is written down as."""
        llm = self.llm()
        extractors = [SummaryExtractor(llm=llm), KeywordExtractor(llm=llm), QuestionsAnsweredExtractor(llm=llm)]
        pipeline = IngestionPipeline(transformations=extractors, disable_cache=False)  # type: ignore[arg-type]
        with recorded() as recorder:
            (node,) = pipeline.run(nodes=[TextNode(text="Ann knows Bo.")])
            pipeline.run(nodes=[TextNode(text="Ann knows Bo.", id_=node.node_id)])
        assert len(recorder.of("LLMChatEndEvent")) + len(recorder.of("LLMCompletionEndEvent")) == 3
        assert {"section_summary", "excerpt_keywords", "questions_this_excerpt_can_answer"} <= set(node.metadata)
        again = KeywordExtractor.from_dict(extractors[1].to_dict())
        assert again.llm.to_dict() == llm.to_dict()

    async def test_rerankers(self) -> None:
        """Rerankers read their ranks from a text, or from an object."""
        ranks = {"documents": [{"document_number": 2, "relevance": 9}]}
        by_object = StructuredLLMRerank(llm=self.scripted(json.dumps(ranks)), top_n=1)
        by_text = LLMRerank(llm=self.scripted("Doc: 2, Relevance: 9", thinking="Doc: 1, Relevance: 9"), top_n=1)
        for reranker in (by_text, by_object):
            assert reranker.postprocess_nodes(NODES, query_str="Two?")[0].node == NODES[1].node

    def test_free_extractor(self) -> None:
        """A DynamicLLMPathExtractor finds its triplets in a text."""
        triplet = {"head": "Ann", "head_type": "PERSON", "relation": "KNOWS", "tail": "Bo", "tail_type": "PERSON"}
        extractor = DynamicLLMPathExtractor(llm=self.scripted(json.dumps([triplet]), thinking="[{}]"))
        (node,) = extractor([TextNode(text="Ann knows Bo.")])
        assert node.metadata["relations"][0].label == "KNOWS"

    def test_schema_extractor(self) -> None:
        """A SchemaLLMPathExtractor fills its schema, four nodes at a time."""
        triplet = {
            "subject": {"type": "PERSON", "name": "Ann"},
            "relation": {"type": "WORKED_WITH"},
            "object": {"type": "PERSON", "name": "Bo"},
        }
        llm = self.scripted(json.dumps({"triplets": [triplet]}))
        extractor = SchemaLLMPathExtractor(llm=llm, num_workers=4, strict=False)
        nodes = extractor([TextNode(text=f"{n}: Ann worked with Bo.") for n in range(6)])
        assert all(node.metadata["relations"][0].label == "WORKED_WITH" for node in nodes)

    async def test_context_extractor(self) -> None:
        """A DocumentContextExtractor's calls are served (it reads the first block: see where the thinking stands)."""
        document = Document(text="Two and two is four. " * 3)
        store = SimpleDocumentStore()
        store.add_documents([document])
        extractor = DocumentContextExtractor(
            docstore=store, llm=self.llm(), max_context_length=1000, show_progress=False
        )
        node = TextNode(text="Two and two is four.", relationships={})
        node.relationships = {"1": document.as_related_node_info()}  # type: ignore[dict-item]
        with recorded() as recorder:
            await extractor.aextract([node])
        assert len(recorder.of("LLMChatEndEvent")) == 1
