"""The exact accept / recover rule of speculative sampling.

Leviathan et al., arXiv 2211.17192: a token x drawn from q is accepted with probability min(1, p(x) / q(x)). If it is
rejected, a token is drawn from max(p - q, 0), renormalised. The result has the distribution p, for any q. Greedy
decoding is the same rule for distributions with one possible token.
"""

import torch

from glimp_core.local.sampling import Sampler


def verify(logits: torch.Tensor, drafted: int, draft_distribution: torch.Tensor | None, sampler: Sampler) -> int:
    """Return the token to write: the drafted one if it is accepted, else a recovered one.

    `logits` [vocabulary] are the target's at this position, with a grammar's mask on them if there is one. The draft
    was drawn from `draft_distribution` [vocabulary]; None for one that was looked up, which is certain of itself.
    """
    if sampler.rule.temperature == 0:
        return int(logits.argmax())
    target = sampler.full_distribution(logits)
    proposed = 1.0 if draft_distribution is None else float(draft_distribution[drafted])
    if sampler.uniform() * proposed < float(target[drafted]):
        return drafted
    rest = target.clone() if draft_distribution is None else (target - draft_distribution).clamp_(min=0)
    rest[drafted] = 0  # it was more likely in the draft than here, else it would have been accepted
    return sampler.draw_from(rest if float(rest.sum()) > 0 else target)
