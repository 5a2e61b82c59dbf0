"""What stands in for CUDA's graphs on a CPU: nothing is recorded, and the very same step runs again at each call."""

import torch

from glimp_core.local.graph import GraphReplay


def again(step: GraphReplay, device: torch.device) -> GraphReplay:
    """Record nothing: run the step anew each time, as a graph would, after the two runs that CUDA wants."""
    step(), step()
    return step


def wrong(step: GraphReplay, device: torch.device) -> GraphReplay:
    """A graph that misses the mark, and spoils the cache on its way."""
    return lambda: step().flip(-1)


def broken(step: GraphReplay, device: torch.device) -> GraphReplay:
    """A device that cannot record what the model does."""
    step()
    raise RuntimeError("operation not permitted when stream is capturing")
