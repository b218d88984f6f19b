"""How long sessions stay: until their caller's rights end, or a limit of the server.

Once a second each session is looked at. One whose time is over takes nothing new as soon
as nothing would be lost with it, and the client opens another; what holds a transaction is
ended only by a limit, with an error that names it.

Invariant: a session that is cut ends as if its client were gone: rolled back, and cleaned.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mtdd_router.server.auth import Authority
from mtdd_router.server.calls import CallRefused
from mtdd_router.server.config import ServerConfig
from mtdd_router.server.logs import get_logger
from mtdd_router.server.session import Session
from mtdd_router.wire.status import StatusCode

__all__ = ["Tenure"]

_log = get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
# How often the file of callers is looked at, in looks.
_CALLERS_EVERY: Final = 2


@dataclass(slots=True, eq=False)
class _Stay:
    """A session's: the task that serves it, whether its caller is gone, and why it was cut."""

    session: Session
    task: "asyncio.Task[object]"
    revoked: bool = False
    refusal: CallRefused | None = None


class Tenure:
    """The stays of the sessions of one worker.

    Args:
        authority: tells whether callers still may.
        config: the limits.
    """

    def __init__(self, authority: Authority, config: ServerConfig) -> None:
        self._authority = authority
        self._sessions_per_caller = config.sessions_per_caller
        self._idle = config.idle_timeout
        self._idle_in_transaction = config.idle_in_transaction_timeout
        self._grace = config.token_grace
        self._stays: set[_Stay] = set()
        self._counts: Counter[str] = Counter()

    @contextlib.contextmanager
    def of(self, session: Session) -> Iterator[None]:
        """Watch over *session* while this task serves it.

        Raises:
            CallRefused: if its caller has too many, or when it is cut.
        """
        task = asyncio.current_task()
        assert task is not None
        caller = session.grant.caller
        if 0 < self._sessions_per_caller <= self._counts[caller]:
            raise CallRefused(
                StatusCode.RESOURCE_EXHAUSTED,
                f"caller {caller!r} has {self._counts[caller]} sessions open in this worker, "
                "all that --sessions-per-caller allows",
            )
        stay = _Stay(session, task)
        self._stays.add(stay)
        self._counts[caller] += 1
        try:
            yield
        except asyncio.CancelledError:
            if stay.refusal is None:
                raise
            task.uncancel()
            raise stay.refusal from None
        finally:
            self._stays.discard(stay)
            self._counts[caller] -= 1
            if not self._counts[caller]:
                del self._counts[caller]

    async def watch(self) -> None:
        """Look at the sessions from time to time, until cancelled."""
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            changed = looks % _CALLERS_EVERY == 0 and self._authority.refresh()
            for stay in list(self._stays):
                if stay.refusal is None:
                    self._look(stay, callers_changed=changed)

    # internals

    def _look(self, stay: _Stay, *, callers_changed: bool) -> None:
        session = stay.session
        grant = session.grant
        if stay.revoked:
            # Whoever has another key has opened another session by now.
            self._cut(stay, StatusCode.UNAUTHENTICATED, session.over)
            return
        if callers_changed and self._authority.revoked(grant):
            session.over = "its key or certificate is listed no more"
            stay.revoked = True
        elif callers_changed and self._authority.changed(grant):
            session.over = "what its caller may do has changed"
        late = time.time() - grant.expires
        if late > 0:
            session.over = "its caller's token has expired"
            if late > self._grace:
                text = f"its token expired, and the {self._grace:g} s of --token-grace are over"
                self._cut(stay, StatusCode.UNAUTHENTICATED, text)
        if not session.running:
            rested = asyncio.get_running_loop().time() - session.idle_since
            if session.in_transaction:
                self._rested(stay, rested, self._idle_in_transaction, "idle-in-transaction")
            else:
                self._rested(stay, rested, self._idle, "idle")

    def _rested(self, stay: _Stay, rested: float, limit: float, what: str) -> None:
        if 0 < limit < rested:
            text = f"it was idle for longer than the {limit:g} s that --{what}-timeout allows"
            self._cut(stay, StatusCode.UNAVAILABLE, text)

    def _cut(self, stay: _Stay, code: StatusCode, why: str) -> None:
        session = stay.session
        caller = session.grant.caller
        if session.free:
            # Nothing is lost, and another may take what is just on its way.
            code = StatusCode.UNAVAILABLE
        stay.refusal = CallRefused(code, f"the session of caller {caller!r} was ended: {why}")
        _log.info("session_cut", caller=caller, session=session.session_id[:8], reason=why)
        stay.task.cancel()
