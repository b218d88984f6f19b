"""Routes that were read ahead and not used yet, in as few bytes as may be.

A tenant takes its name and one int: its key, and the number of what it has in common with
many others - shard, address, epoch, state and until when that is fresh. A million tenants
take 130 MB so, of which 90 are a dict of their names; as objects their routes took 290.

Invariant: the owner holds one lock around each call; nothing here is safe without.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mtdd_router.types import Route, TenantState

__all__ = ["Preloaded"]

# One of the digits that CPython makes an int of: below it, a key takes one more.
_NUMBER_BITS: Final = 30
_NUMBER: Final = (1 << _NUMBER_BITS) - 1


class _Common(NamedTuple):
    """What is the same for many tenants; *fresh_until* is in monotonic seconds."""

    shard: str
    address: str
    epoch: int
    state: TenantState
    shard_id: str
    fresh_until: float


class Preloaded:
    """Routes and until when they are fresh, by the tenants' names."""

    def __init__(self) -> None:
        self._packed: dict[str, int] = {}
        self._common: list[_Common] = []
        self._unused: list[int] = []

    def add(self, routes: Iterable[Route], fresh_until: Mapping[TenantState, float]) -> list[str]:
        """Keep *routes*, fresh until the monotonic seconds that *fresh_until* has for each state.

        Return the names that had another key or shard before.
        """
        numbers: dict[tuple[str, str, int, str, str], int] = {}
        others = []
        for route in routes:
            what = (route.shard, route.address, route.epoch, route.state, route.shard_id)
            number = numbers.get(what)
            if number is None:
                number = numbers[what] = self._number(route, fresh_until)
            before = self._packed.get(route.tenant)
            if before is not None and (
                before >> _NUMBER_BITS != route.key
                or self._common[before & _NUMBER].shard != route.shard
            ):
                others.append(route.tenant)
            self._packed[route.tenant] = route.key << _NUMBER_BITS | number
        return others

    def pop(self, tenant: str) -> tuple[Route, float] | None:
        """Forget *tenant*; return its route and until when that is fresh, or None if not here."""
        packed = self._packed.pop(tenant, None)
        if packed is None:
            return None
        common = self._common[packed & _NUMBER]
        route = Route(
            tenant=tenant,
            shard=common.shard,
            address=common.address,
            epoch=common.epoch,
            state=common.state,
            key=packed >> _NUMBER_BITS,
            shard_id=common.shard_id,
        )
        return route, common.fresh_until

    def clear(self) -> None:
        """Forget all."""
        self._packed.clear()
        self._common.clear()
        self._unused.clear()

    def reuse(self) -> None:
        """Let the next ones have the numbers that no tenant has any more."""
        used = {packed & _NUMBER for packed in self._packed.values()}
        self._unused = [number for number in range(len(self._common)) if number not in used]

    def _number(self, route: Route, fresh_until: Mapping[TenantState, float]) -> int:
        state = TenantState(route.state)
        common = _Common(
            shard=sys.intern(route.shard),
            address=sys.intern(route.address),
            epoch=route.epoch,
            state=state,
            shard_id=sys.intern(route.shard_id),
            fresh_until=fresh_until[state],
        )
        if self._unused:
            number = self._unused.pop()
            self._common[number] = common
        else:
            number = len(self._common)
            self._common.append(common)
        return number
