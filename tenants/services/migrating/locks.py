"""Which locks a statement takes on tables that are there, as PostgreSQL documents them.

https://www.postgresql.org/docs/current/explicit-locking.html and the pages of the commands.
"""

import re
from typing import Final

__all__ = ["locks_of"]

_NAME: Final = r'(?P<table>"[^"]+"|[\w.]+)'
_ON: Final = rf".*?\bON\s+(?:ONLY\s+)?{_NAME}"
_TABLE: Final = rf"\s+(?:IF EXISTS\s+)?(?:ONLY\s+)?{_NAME}"
# The first that matches counts.
_RULES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), lock)
    for pattern, lock in (
        (rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY{_ON}", "SHARE UPDATE EXCLUSIVE"),
        (rf"DROP INDEX CONCURRENTLY(?:\s+IF EXISTS)?\s+{_NAME}", "SHARE UPDATE EXCLUSIVE"),
        (rf"CREATE (?:UNIQUE )?INDEX{_ON}", "SHARE"),
        (rf"ALTER TABLE{_TABLE}\s+VALIDATE CONSTRAINT", "SHARE UPDATE EXCLUSIVE"),
        (rf"ALTER TABLE{_TABLE}\s+ADD CONSTRAINT\s+\S+\s+FOREIGN KEY", "SHARE ROW EXCLUSIVE"),
        (rf"(?:ALTER|DROP|TRUNCATE) TABLE{_TABLE}", "ACCESS EXCLUSIVE"),
        (rf"DROP INDEX(?:\s+IF EXISTS)?\s+{_NAME}", "ACCESS EXCLUSIVE"),
        (rf"COMMENT ON (?:TABLE|COLUMN)\s+{_NAME}", "SHARE UPDATE EXCLUSIVE"),
        (rf"(?:UPDATE|INSERT INTO|DELETE FROM){_TABLE}", "ROW EXCLUSIVE"),
    )
)


def locks_of(statement: str) -> tuple[str, str] | None:
    """Return the table, or index, that is locked and the lock's mode; None for no such lock."""
    for rule, lock in _RULES:
        if found := rule.match(statement.strip()):
            return found["table"].strip('"'), lock
    return None
