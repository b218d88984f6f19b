"""Which tenants Django's test cases see among the aliases, besides those that are open.

Django's TestCase guards the aliases that iterating over `connections` gives: those that a
test declares are wrapped in transactions, all others refused. Tenants are not listed
anywhere, so tests show the ones that they declare; and they may leave some out, which
Django then takes for connections made on the fly, and lets pass.

Invariant: what is shown and left out is the same in all threads, as is what a test declares.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["is_left_out", "leaving_out", "showing", "shown_aliases"]

_shown: Final[Counter[str]] = Counter()
_left_out: Final[Counter[str]] = Counter()
_ALL: Final = "*"


def shown_aliases() -> dict[str, None]:
    """Return the tenants that are shown, in the order in which they were."""
    return dict.fromkeys(_shown)


def is_left_out(alias: str) -> bool:
    """Return whether Django's test cases are not to see that this tenant is opened."""
    return bool(_left_out) and (alias in _left_out or _ALL in _left_out)


@contextmanager
def showing(aliases: Iterable[str]) -> Iterator[None]:
    """Show these tenants among the aliases, open or not."""
    with _counted(_shown, tuple(aliases)):
        yield


@contextmanager
def leaving_out(aliases: Iterable[str] | None = None) -> Iterator[None]:
    """Let these tenants be opened although no test declares them; None means any."""
    with _counted(_left_out, (_ALL,) if aliases is None else tuple(aliases)):
        yield


@contextmanager
def _counted(counter: Counter[str], aliases: tuple[str, ...]) -> Iterator[None]:
    counter.update(aliases)
    try:
        yield
    finally:
        counter.subtract(aliases)
        for alias in aliases:
            if counter[alias] <= 0:
                del counter[alias]
