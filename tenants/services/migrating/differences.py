"""How two schemas differ, fact by fact."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mtdd_router.types import SchemaFact

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise than it should be.

    Attributes:
        kind: such as ``column``, ``constraint`` or ``index``.
        object: its name, as ``table.name`` if it belongs to a table.
        expected: how it should be defined; None if it should not be there.
        found: how it is defined; None if it is not there.
    """

    kind: str
    object: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        subject = f"{self.kind} {self.object}"
        if self.found is None:
            return f"{subject} is missing" + _colon(self.expected)
        if self.expected is None:
            return f"{subject} should not be there" + _colon(self.found)
        return f"{subject} is {self.found or 'plain'}, and should be {self.expected or 'plain'}"


def differences(
    expected: Iterable[SchemaFact], found: Iterable[SchemaFact]
) -> tuple[Difference, ...]:
    """Return what is otherwise in *found* than in *expected*, by kind and name."""
    wanted, there = set(expected), set(found)
    missing, surplus = _definitions(wanted - there), _definitions(there - wanted)
    return tuple(
        Difference(*key, missing.get(key), surplus.get(key)) for key in sorted({*missing, *surplus})
    )


def _definitions(facts: Iterable[SchemaFact]) -> Mapping[tuple[str, str], str]:
    """Return definitions by kind and name; one name may have several, as of triggers."""
    found: dict[tuple[str, str], str] = {}
    for fact in sorted(facts):
        key = (fact.kind, fact.object)
        found[key] = f"{found[key]}; {fact.definition}" if key in found else fact.definition
    return found


def _colon(definition: str | None) -> str:
    return f": {definition}" if definition else ""
