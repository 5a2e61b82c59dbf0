"""A question that takes two sources: it is split into one for each, and the answers are put together.

python examples/llamaindex_subquestions.py [SMALL LARGE]
"""

import sys

from llama_index.core import Document, SummaryIndex, get_response_synthesizer
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.tools import QueryEngineTool

from glimp_llamaindex import GlimpLLM

QUESTION = "Which of the two workshops is cheaper for a student, and by how much a month?"
SOURCES = {
    "north": "The north workshop opens at nine. Members pay 20 euros a month, students half of that.",
    "south": "The south workshop has a laser cutter. Everybody pays 14 euros a month, students too.",
}


def main(llm: GlimpLLM) -> None:
    tools = [
        QueryEngineTool.from_defaults(
            SummaryIndex.from_documents([Document(text=text)]).as_query_engine(llm=llm),
            name=name,
            description=f"what is known of the {name} workshop",
        )
        for name, text in SOURCES.items()
    ]
    engine = SubQuestionQueryEngine.from_defaults(
        tools,
        llm=llm,
        # without it LlamaIndex looks for a generator that only OpenAI's models have
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        response_synthesizer=get_response_synthesizer(llm=llm),
        use_async=False,
    )
    print(engine.query(QUESTION))


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(GlimpLLM(small, large, temperature=0))
