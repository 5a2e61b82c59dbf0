"""Both models on vLLM servers, which may be anywhere and of any size. Two commands, then this file:

    vllm serve Qwen/Qwen3-1.7B --port 8001 --max-logprobs 20 --gpu-memory-utilization 0.3
    vllm serve Qwen/Qwen3-32B --port 8000 --tensor-parallel-size 4

    python examples/remote_vllm.py [QUESTION]

Prefix caching, which makes switching cheap, is on in vLLM by default. The small model's glimpse and its step are one
request. A 32B model over several machines is the server's own affair: add --pipeline-parallel-size 2 there.
"""

import sys

from glimp_core import Completion, Delta, EntropyThreshold, GlimpRouter, Routed, RouterConfig
from glimp_core.engine import Engine, Glimpser
from glimp_core.remote import RemoteEngine, RemoteGlimpser


def main(small: Glimpser, large: Engine, question: str) -> None:
    router = GlimpRouter(
        small,
        large,
        policy=EntropyThreshold(1.0, entropy="top20"),
        config=RouterConfig(entropy="top20", on_large_failure="small"),
    )
    events = []
    for event in router.stream(question):
        events.append(event)
        if isinstance(event, Routed):
            print(f"\n[{event.decision.engine}, H {event.glimpse.entropy:.2f}] ", end="")
        elif isinstance(event, Delta):
            print(event.text, end="", flush=True)
    print("\n")
    summary = Completion.fold(events).summary()
    print(f"{summary.large_token_share:.0%} of the tokens by the large model, {summary.seconds:.1f} s")
    print(*summary.notes, sep="\n")


if __name__ == "__main__":
    main(
        RemoteGlimpser("http://127.0.0.1:8001/v1", "Qwen/Qwen3-1.7B"),
        RemoteEngine("http://127.0.0.1:8000/v1", "Qwen/Qwen3-32B", timeout=300),
        sys.argv[1] if len(sys.argv) > 1 else "Ann has 12 apples. Bob has 3 fewer than Ann. How many have they?",
    )
