"""A chain: prompt, model, parser; streamed, and several questions at once.

python examples/langchain_chain.py [SMALL LARGE]
"""

import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from glimp_langchain import ChatGlimp


def main(llm: ChatGlimp) -> None:
    prompt = ChatPromptTemplate([("system", "You are brief."), ("human", "In one sentence: what is {thing}?")])
    chain = prompt | llm | StrOutputParser()

    for text in chain.stream({"thing": "entropy"}):
        print(text, end="", flush=True)
    print()
    for answer in chain.batch([{"thing": "a token"}, {"thing": "a prime number"}, {"thing": "a stream"}]):
        print("-", answer)


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(ChatGlimp(small=small, large=large, temperature=0.6, max_tokens=200))
