"""Asserting how often the shards were asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from mtdd_router.client.round_trips import RoundTrips, record_round_trips

__all__ = ["assert_num_rpcs", "describe"]


@contextmanager
def assert_num_rpcs(number: int, *, tenant: str | None = None) -> Iterator[RoundTrips]:
    """Fail unless the block takes that many round trips to shards, of *tenant* if given.

    A statement in autocommit is one round trip; a transaction of n statements is n + 1,
    for BEGIN travels with the first; changing tenants adds none. In a test that is itself
    a transaction, `atomic` sets a savepoint, which is a statement, and so is its release.

    Opening a session is not counted, nor what threads do that the block has not given its
    context (`sync_to_async` and tasks have it). Yields what was counted so far.

    Raises:
        AssertionError: listing the round trips.
    """
    with record_round_trips() as recorded:
        yield recorded
    made = [trip for trip in recorded if tenant is None or trip.tenant == tenant]
    if len(made) != number:
        counted = RoundTrips(made)
        raise AssertionError(
            f"{number} round trip{'s' * (number != 1)} to shards expected, {len(made)} made"
            f"{':' if made else '.'}{describe(counted)}"
        )


def describe(recorded: RoundTrips) -> str:
    """Return a line for each round trip, each after a line break."""
    return "".join(
        f"\n  {number}. {trip.tenant or '(no tenant)'}: {trip.what}"
        for number, trip in enumerate(recorded, 1)
    )
