"""A chat engine that streams two turns over one memory, and says after each which model wrote how much.

python examples/llamaindex_chat.py [SMALL LARGE]
"""

import sys
from typing import Any

from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent

from glimp_llamaindex import GlimpLLM

TURNS = ("Anna has 12 pens and gives 5 away. How many are left?", "And if she buys 4 more?")


class LastReply(BaseEventHandler):
    """Keeps the raw response of the last reply, whoever asked for it."""

    raw: Any = None

    def handle(self, event: Any, **kwargs: Any) -> None:
        if isinstance(event, LLMChatEndEvent) and event.response:
            self.raw = event.response.raw


def main(llm: GlimpLLM) -> None:
    dispatcher, last = get_dispatcher(), LastReply()
    dispatcher.add_event_handler(last)
    engine = SimpleChatEngine.from_defaults(llm=llm)
    for turn in TURNS:
        print(f"\n> {turn}")
        for token in engine.stream_chat(turn).response_gen:
            print(token, end="", flush=True)
        steps, share = last.raw["routing"]["steps"], last.raw["routing"]["summary"]["large_token_share"]
        print(f"\n[{len(steps)} steps, {share:.0%} of the tokens by the large model]")
    dispatcher.event_handlers.remove(last)


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(GlimpLLM(small, large, temperature=0.6))
