"""Routes that were read ahead, in few bytes."""

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

from mtdd_router.preloaded import Preloaded
from mtdd_router.types import Route, TenantState

FRESH_UNTIL = {state: float(number) for number, state in enumerate(TenantState)}
KEYS = (0, 1, 2**30 - 1, 2**30, 2**32 + 1, 2**63 - 1, 2**70, -1)
EPOCHS = (0, 1, 2**31, 2**63)


@pytest.fixture
def preloaded() -> Preloaded:
    return Preloaded()


def test_what_is_kept_comes_back(preloaded: Preloaded) -> None:
    routes = [
        Route(f"t{number}", *rest)
        for number, rest in enumerate(
            itertools.product(
                ("one", "two", "ö"), ("", "[::1]:1"), EPOCHS, TenantState, KEYS, ("", "7")
            )
        )
    ]
    assert preloaded.add(routes, FRESH_UNTIL) == []
    for route in routes:
        assert preloaded.pop(route.tenant) == (route, FRESH_UNTIL[route.state])
        assert preloaded.pop(route.tenant) is None


def test_a_state_that_is_a_plain_string_becomes_one(preloaded: Preloaded) -> None:
    preloaded.add([Route("abc", "one", "", 1, "frozen")], FRESH_UNTIL)  # type: ignore[arg-type]
    route, fresh_until = preloaded.pop("abc") or pytest.fail("it is not there")
    assert route.state is TenantState.FROZEN
    assert fresh_until == FRESH_UNTIL[TenantState.FROZEN]


def test_later_routes_replace_the_earlier_and_those_that_lead_elsewhere_are_named(
    preloaded: Preloaded,
) -> None:
    before = [Route(name, "one", "", 1, key=number) for number, name in enumerate("abcd")]
    preloaded.add(before, FRESH_UNTIL)
    after = [
        Route("a", "one", "elsewhere", 2, TenantState.FROZEN, key=0),
        Route("b", "two", "", 1, key=1),
        Route("c", "one", "", 1, key=9),
        Route("e", "two", "", 1, key=4),
    ]
    assert preloaded.add(after, FRESH_UNTIL) == ["b", "c"]
    found = {name: preloaded.pop(name) for name in "abcde"}
    assert [found[name] for name in "abce"] == [
        (route, FRESH_UNTIL[route.state]) for route in after
    ]
    assert found["d"] == (before[3], FRESH_UNTIL[TenantState.ACTIVE])


def test_nothing_is_left_once_it_is_cleared(preloaded: Preloaded) -> None:
    preloaded.add([Route("abc", "one", "", 1), Route("gone", "three", "", 1)], FRESH_UNTIL)
    preloaded.pop("gone")
    preloaded.reuse()
    preloaded.clear()
    assert preloaded.pop("abc") is None
    preloaded.add([Route("abc", "two", "", 1)], FRESH_UNTIL)
    route, _ = preloaded.pop("abc") or pytest.fail("it is not there")
    assert route.shard == "two"


def test_reading_ahead_again_and_again_takes_no_more(preloaded: Preloaded) -> None:
    def routes(epoch: int) -> Iterator[Route]:
        for number in range(100):
            yield Route(f"t{number}", "one", "", epoch + number, key=number)

    rest = Route("rest", "two", "", 7, key=7)
    preloaded.add([rest], FRESH_UNTIL)
    for epoch in range(20):
        preloaded.reuse()
        preloaded.add(routes(epoch), FRESH_UNTIL)
    assert len(preloaded._common) <= 2 * 100 + 1
    assert preloaded.pop("rest") == (rest, FRESH_UNTIL[TenantState.ACTIVE])
    for route in routes(19):
        assert preloaded.pop(route.tenant) == (route, FRESH_UNTIL[TenantState.ACTIVE])


def test_a_tenant_takes_less_than_a_hundred_and_sixty_bytes(preloaded: Preloaded) -> None:
    tracemalloc.start()
    try:
        for first in range(0, 100_000, 10_000):
            preloaded.add(
                (
                    Route(f"tenant-{number}", f"shard{number % 5}", "", 1 + number % 3, key=number)
                    for number in range(first, first + 10_000)
                ),
                FRESH_UNTIL,
            )
        assert tracemalloc.get_traced_memory()[0] < 16_000_000
    finally:
        tracemalloc.stop()
