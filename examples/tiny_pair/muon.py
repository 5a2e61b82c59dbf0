"""Muon: momentum made orthogonal, for the matrices inside the layers."""

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon:
    """Steps matrices along their orthogonalised momentum, same shapes in one batch."""

    def __init__(self, parameters: list[torch.Tensor], lr: float = 0.01, momentum: float = 0.95) -> None:
        self.lr, self.momentum = lr, momentum
        self.groups: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for parameter in parameters:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.state = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update every matrix with the learning rate times `factor`."""
        for shape, group in self.groups.items():
            grads = torch.stack([p.grad for p in group])
            held = self.state[shape].lerp_(grads, 1 - self.momentum)
            moves = _orthogonal(grads.lerp(held, self.momentum))
            rate = self.lr * factor * max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, move in zip(group, moves, strict=True):
                parameter.mul_(1 - 0.01 * rate).sub_(move, alpha=rate)


def _orthogonal(batch: torch.Tensor) -> torch.Tensor:
    a, b, c = NEWTON_SCHULZ
    tall = batch.shape[1] > batch.shape[2]
    x = batch.mT if tall else batch
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
