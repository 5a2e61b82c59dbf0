"""Question answering over documents: a local embedding model, a store in memory, and the pair to answer.

python examples/langchain_rag.py [SMALL LARGE [EMBEDDER]]
"""

import sys

import torch
from langchain_core.embeddings import Embeddings
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from transformers import AutoModel, AutoTokenizer

from glimp_langchain import ChatGlimp

DOCUMENTS = [
    "The workshop opens at nine and closes at five, except on Fridays, when it closes at two.",
    "Keys to the workshop hang behind the counter; whoever takes one signs the blue book.",
    "The laser cutter must not cut PVC, because it sets free chlorine gas.",
    "Members pay 20 euros a month, students half of that.",
]


class MeanPooling(Embeddings):
    """Sentences as the mean of their tokens' last hidden states, as sentence-transformers does for MiniLM."""

    def __init__(self, name: str):
        self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.model = AutoModel.from_pretrained(name, trust_remote_code=False).eval()

    @torch.inference_mode()
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        states, mask = self.model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        return ((states * mask).sum(1) / mask.sum(1)).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def main(llm: ChatGlimp, embedder: str) -> None:
    store = InMemoryVectorStore.from_texts(DOCUMENTS, MeanPooling(embedder))
    retriever = store.as_retriever(search_kwargs={"k": 2}) | (lambda found: "\n".join(d.page_content for d in found))
    prompt = ChatPromptTemplate([("human", "Answer from these notes alone:\n{notes}\n\nQuestion: {question}")])
    chain = {"notes": retriever, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()
    for question in ("What does a student pay a month?", "Why is PVC forbidden?"):
        print(question, "->", chain.invoke(question))


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    embedder = sys.argv[3] if len(sys.argv) > 3 else "sentence-transformers/all-MiniLM-L6-v2"
    main(ChatGlimp(small=small, large=large, temperature=0), embedder)
