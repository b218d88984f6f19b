"""When to try again."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with jitter, up to a deadline.

    Args:
        now: the current time of a monotonic clock, in seconds.
        limit: how long to go on trying, in seconds.
        first: the first pause, in seconds.
        longest: the longest pause, in seconds.
    """

    def __init__(
        self, now: float, limit: float, *, first: float = 0.05, longest: float = 1.0
    ) -> None:
        self.deadline = now + limit
        self._pause = first
        self._longest = longest

    def pause(self, now: float) -> float | None:
        """Return how long to sleep before the next try, or None if it is time to give up."""
        left = self.deadline - now
        if left <= 0:
            return None
        pause = min(self._pause * random.uniform(0.5, 1.0), left)
        self._pause = min(self._pause * 2, self._longest)
        return pause
