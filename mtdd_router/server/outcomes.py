"""What became of the requests of recent sessions.

A client whose stream broke asks here whether its COMMIT or autocommit write
took effect. Only the last request of a session can be in doubt.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from mtdd_router.pb import shard_service_pb2 as pb

__all__ = ["Outcomes", "SessionOutcome"]

_KEPT: Final = 10_000


@dataclass(slots=True)
class SessionOutcome:
    """The last request of a session and what became of it."""

    serial: int = 0
    outcome: pb.Outcome = pb.OUTCOME_NOT_RECEIVED


class Outcomes:
    """The outcomes of open sessions, and of the last ones that ended."""

    def __init__(self) -> None:
        self._open: dict[str, SessionOutcome] = {}
        self._ended: OrderedDict[str, SessionOutcome] = OrderedDict()

    def opened(self, session_id: str) -> SessionOutcome:
        """Return the record of a new session, for its owner to keep up to date."""
        record = self._open[session_id] = SessionOutcome()
        return record

    def ended(self, session_id: str) -> None:
        """Keep a session's record a while longer."""
        self._ended[session_id] = self._open.pop(session_id)
        while len(self._ended) > _KEPT:
            self._ended.popitem(last=False)

    def of(self, session_id: str, serial: int) -> pb.Outcome:
        """Return what became of request *serial*; unspecified if that is not known."""
        record = self._open.get(session_id) or self._ended.get(session_id)
        if record is None or serial < record.serial:
            return pb.OUTCOME_UNSPECIFIED
        if serial > record.serial:
            return pb.OUTCOME_NOT_RECEIVED
        return record.outcome
