"""References to live objects."""

from concurrent.futures import ThreadPoolExecutor

from glimp_core.pair import Reference


def test_two_threads_may_name_objects_at_once() -> None:
    """Law: references may be made while others come into being and go."""

    class Thing:
        pass

    def many(_: int) -> int:
        return sum(Reference.to(thing).resolve() is thing for thing in [Thing() for _ in range(200)])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(many, range(8))) == [200] * 8
