"""Which drafted tokens stand: the exact accept / recover / bonus rule of speculative sampling.

Leviathan et al., arXiv 2211.17192: a token x drawn from q is accepted with probability min(1, p(x) / q(x)); the
first one that is not is drawn anew from max(p - q, 0), renormalised; when all stand, one more is drawn from p.
What comes out has the law p, whatever q is. Greedy is the same rule for laws with one possible token.
"""

from collections.abc import Sequence

import torch

from glimp_core.local.sampling import Sampler


def verify(
    drafted: Sequence[int], draft_laws: Sequence[torch.Tensor], logits: torch.Tensor, sampler: Sampler
) -> tuple[list[int], int]:
    """Return the tokens to keep, of which the last is recovered or bonus, and how many drafted ones were accepted.

    `logits` [drafted + 1, vocabulary] are the target's at the positions of the drafted tokens and after them;
    `draft_laws` [vocabulary] what each was drawn from (not looked at when greedy).
    """
    if sampler.law.temperature == 0:
        best = logits.argmax(-1).tolist()
        accepted = next((n for n, (a, b) in enumerate(zip(drafted, best, strict=False)) if a != b), len(drafted))
        return [*drafted[:accepted], best[accepted]], accepted
    for accepted, (token_id, draft_law) in enumerate(zip(drafted, draft_laws, strict=True)):
        law = sampler.law_over(logits[accepted])
        ratio = float(law[token_id] / draft_law[token_id])
        if sampler.uniform() >= ratio:
            rest = (law - draft_law).clamp_(min=0)
            return [*drafted[:accepted], sampler.draw_from(rest if float(rest.sum()) > 0 else law)], accepted
    return [*drafted, sampler.draw_from(sampler.law_over(logits[-1]))], len(drafted)
