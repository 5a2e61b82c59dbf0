"""The measured time of a forward by its number of tokens, in this process."""

LARGEST = 7
"""Forwards of more than 64 tokens are measured together: above this each token takes the same time."""

DECAY = 0.9
"""About the last ten forwards of a size count, because the load of the machine and the other requests change."""


class ForwardCosts:
    """Seconds a forward, by sizes of 1, 2, 4, 8... tokens at most; in between they are taken to grow evenly.

    Sizes of which nothing is known cost what they cost another model, `like`, in proportion: by what is known of both,
    or else by `share`, the parameters of this model divided by those of the other.
    """

    def __init__(self, like: "ForwardCosts | None" = None, share: float = 1.0):
        self.share = share
        self._like = like
        self._sums: dict[int, tuple[float, float, float]] = {}

    def add(self, tokens: int, seconds: float) -> None:
        """Take the measure of a forward of so many tokens."""
        size = _size(tokens)
        count, all_tokens, all_seconds = self._sums.get(size, (0.0, 0.0, 0.0))
        if count > 2:  # a forward that other work of the machine interrupted is not representative
            seconds = min(seconds, 4 * tokens * all_seconds / all_tokens)
        self._sums[size] = (DECAY * count + 1, DECAY * all_tokens + tokens, DECAY * all_seconds + seconds)

    def knows(self, tokens: int) -> bool:
        """Whether forwards of about so many tokens were measured."""
        return _size(tokens) in self._sums

    def seconds(self, tokens: int) -> float:
        """Return what a forward of so many tokens takes, 0 if nothing was measured of any model."""
        if not self._sums:
            return self.share * self._like.seconds(tokens) if self._like else 0.0
        if self._like and not self.knows(tokens):
            nearest = min(self._sums, key=lambda size: abs(size - _size(tokens)))
            known, took = self._mean(nearest)
            if other := self._like.seconds(round(known)):
                return took / other * self._like.seconds(tokens)
        return self._between(tokens)

    def _between(self, tokens: int) -> float:
        """Return what lies on the lines between the sizes that were measured."""
        points = [self._mean(size) for size in sorted(self._sums)]
        below = [point for point in points if point[0] <= tokens]
        above = [point for point in points if point[0] > tokens]
        if not below:
            return above[0][1]
        (known, took) = below[-1]
        if not above:
            return took * tokens / known if known > 1 else took
        (more, longer) = above[0]
        return took + (longer - took) * (tokens - known) / (more - known)

    def _mean(self, size: int) -> tuple[float, float]:
        count, tokens, seconds = self._sums[size]
        return tokens / count, seconds / count


def _size(tokens: int) -> int:
    return min(LARGEST, (tokens - 1).bit_length())
