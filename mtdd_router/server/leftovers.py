"""What the statements of a session left behind on its backend connection.

While anything is left, the session keeps the connection: a later statement may rely on
it, and nobody else may meet it.
"""

from mtdd_router.server.statements import ORDINARY, Statement

__all__ = ["Leftovers"]


class Leftovers:
    """State of a PostgreSQL session that outlives a statement and its transaction."""

    __slots__ = ("_cursors", "_pinned")

    def __init__(self) -> None:
        self._pinned = False
        self._cursors: set[str] = set()

    def __bool__(self) -> bool:
        return self._pinned or bool(self._cursors)

    def clear(self) -> None:
        """Forget all: the connection is gone."""
        self._pinned = False
        self._cursors.clear()

    def note(self, statement: Statement, *, failed: bool, rolled_back: bool) -> None:
        """Note what a finished *statement* left.

        Args:
            statement: what is known of it.
            failed: whether PostgreSQL refused it.
            rolled_back: whether it ended its transaction with ROLLBACK.
        """
        if statement is ORDINARY:
            return
        # What the parser did not understand did nothing if PostgreSQL refused it too.
        if statement.pins and (statement.parsed or not failed):
            self._pinned = True
        if not failed:
            if statement.holds:
                self._cursors.add(statement.holds)
            elif statement.closes == "*":
                self._cursors.clear()
            elif statement.closes:
                self._cursors.discard(statement.closes)
        if rolled_back:
            # Cursors declared in the transaction are gone; which ones they were does
            # not matter, since what remains is cleaned at the end.
            self._pinned = self._pinned or bool(self._cursors)
            self._cursors.clear()
