"""Turns of a device: on a CPU nobody waits for the whole of another one's prompt."""

import threading
from collections.abc import Generator

import pytest
import torch

import tiny
from glimp_core.local.scheduler import SHORTEST_PART, Scheduler, Task
from glimp_core.local.session import CacheUse, Forward, KVSession

PROMPT = [3 + 7 * n % 240 for n in range(150)]


@pytest.mark.parametrize("family", ["llama", "gemma3", "lfm2"])
@pytest.mark.parametrize("keep", [1, 20])
@torch.inference_mode()
def test_a_prompt_in_parts_is_the_prompt(family: str, keep: int) -> None:
    """Law: the parts of a forward are its tokens in order, and leave the session and its logits as it does."""
    model = tiny.model(family)
    whole, parted = KVSession(model, CacheUse("crop")), KVSession(model, CacheUse("crop"))
    for forward in whole.sync(PROMPT, keep):
        forward.run()
    sizes = []

    def work(task: Task) -> Generator[Forward, None, None]:
        yield from parted.sync(PROMPT, keep)

    task = Task(work, lambda: False)
    with pytest.raises(StopIteration):
        while True:
            forward = task.next_forward(1.0)
            forward.run()
            sizes.append(len(forward.token_ids))
            task.ran(forward)
    assert sum(sizes) == len(PROMPT)
    assert max(sizes) < 2 * SHORTEST_PART + keep
    assert parted.token_ids == whole.token_ids
    assert parted.logits is not None
    assert whole.logits is not None
    torch.testing.assert_close(parted.logits, whole.logits, rtol=1e-3, atol=1e-3)


def test_others_have_their_turn_between_the_parts() -> None:
    """Law: beside another task a prompt is read in parts, alone in as few forwards as ever; both are counted once."""
    fed: list[str] = []
    arrived = threading.Event()

    def reading(name: str, lengths: list[int]) -> Task:
        session = KVSession(tiny.model(), CacheUse("crop"))

        def work(task: Task) -> Generator[Forward, None, None]:
            for length in lengths:
                for forward in session.sync(PROMPT[:length]):
                    yield forward
                    fed.append(name)
                    task.put(forward.done and len(forward.token_ids))

        return Task(work, lambda: False)

    def waiting(task: Task) -> Generator[Forward, None, None]:
        arrived.wait(10)
        yield from ()

    scheduler = Scheduler("cpu of a test", turn_flops=1.0)
    scheduler.submit(Task(waiting, lambda: False))  # so that both come in one turn
    prompt, other = reading("prompt", [150]), reading("other", list(range(1, 9)))
    for task in (prompt, other):
        scheduler.submit(task)
    arrived.set()
    assert list(prompt.results()) == [150]
    assert list(other.results()) == [1] * 8
    assert fed.index("prompt") >= 7
    scheduler.stop()
