"""The small model in this process, the large one, quantised, on a llama.cpp server:

    llama-server -hf Qwen/Qwen3-32B-GGUF:Q4_K_M --port 8080 --ctx-size 32768 --parallel 2

    python examples/remote_llamacpp.py [QUESTION]

llama.cpp keeps the cache of a prompt by itself (cache_prompt). Its GGUF file has no transformers tokenizer beside it:
`tokenizer` names the model that it was made from.
"""

import sys

from glimp_core import EntropyThreshold, GlimpRouter
from glimp_core.remote import RemoteEngine


def main(router: GlimpRouter, question: str) -> None:
    print(router.large)
    router.load()
    done = router.generate(question)
    for step in done.steps:
        print(f"{step.phase:8} {step.engine:5} {step.tokens:4} tokens  {step.text.strip()[:60]}")
    print(done.answer.strip())


if __name__ == "__main__":
    large = RemoteEngine("http://127.0.0.1:8080/v1", "Qwen3-32B", tokenizer="Qwen/Qwen3-32B", timeout=300)
    router = GlimpRouter.from_pretrained(small="Qwen/Qwen3-0.6B", large=large, policy=EntropyThreshold(1.0))
    main(router, sys.argv[1] if len(sys.argv) > 1 else "Ann has 12 apples. Bob has 3 fewer. How many have they?")
